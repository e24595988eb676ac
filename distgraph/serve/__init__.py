"""``distgraph serve``: an ASGI application that serves graphs to LangGraph's clients.

Needs the extra ``serve``. Nothing here imports Ray: ``actors/serve.py`` puts the application on Ray
Serve, and ``local.py`` runs it with uvicorn.
"""
