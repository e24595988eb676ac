"""Threads, timers and waiting. No other module starts a thread.

Threads are started in three ways: ``daemon`` (a thread of its own), ``DaemonExecutor`` (a pool) and
``Timers`` (calls that are due later). The end of a process waits for none of them. Every thread has
an owner, and a name:

``distgraph-connect``
    In: caller. Owner: ``distgraph/backends/connecting.py``. Waits for Ray and the session, to
    be started. Ends with the start.
``distgraph-ray``
    In: caller. Owner: ``actors/connect.py``, where the first run is not in the main thread.
    Waits for nothing: a local Ray ends with the thread that started it. Ends with the process.
``distgraph-follow``
    In: caller. Owner: ``invocation/first_reader.py``. Waits for events of a started run, for its
    callbacks. Ends with the run.
``distgraph-batch``
    In: caller. Owner: ``batch``. Waits for runs of a batch. Ends 10 s after its last.
``distgraph-progress``
    In: caller. Owner: ``views/watch.py``. Waits for the next time that a view is drawn. Ends
    with the run.
``distgraph-token``
    In: caller. Owner: ``actors/connect.py``. Waits for the reply of a cluster with token
    authentication. Ends with the reply.
``distgraph-update``
    In: caller. Owner: ``update_state`` with async code. Waits for that code. Ends with the
    call.
``distgraph-host``
    In: caller. Owner: ``persistence/hosting.py``. Waits for calls of savers and stores, 16 at
    once for each client. Ends after 10 s without any.
``distgraph-persistence``
    In: all. Owner: ``persistence/sync_or_async.py``. Waits for coroutines of async savers. Ends
    with the process.
``distgraph-check``
    In: all. Owner: ``persistence/sqlite.py``. Waits for one look at a database. Ends with the
    look.
``distgraph-timers``
    In: all. Owner: ``concurrency/timers.py``. Waits for the next time that is due. Ends after 2
    s without any.
``distgraph-wire``
    In: all. Owner: ``wire/loop.py``. Waits for sockets; in a driver, it also takes the turns of
    runs. Ends with the process; behind a turn that took long, with the turn.
``distgraph-heartbeat``
    In: worker. Owner: ``worker/heartbeat.py``. Waits for the next sign of life. Ends with the
    process.
``distgraph-dial``
    In: all. Owner: ``wire/link.py``. Waits for one connection to be made. Ends with it.
``distgraph-saver``
    In: driver, or caller (local). Owner: ``SaverThread``. Waits for what one run has to save.
    Ends with the run.
``distgraph-publisher``
    In: worker. Owner: ``Publisher``. Waits for the next put that may start. Ends after 2 s
    without any.
``distgraph-loop``
    In: worker, or caller (local). Owner: async nodes. Waits for coroutines of nodes. Ends with
    the process.
``distgraph-node``
    In: executor, or caller (local). Owner: sync nodes that run in threads. Waits for attempts.
    Ends after 10 s without any.
``distgraph-thread``
    In: all. Owner: ``in_thread``. Waits for blocking calls of coroutines. Ends after 10 s
    without any.
``distgraph-tools``
    In: worker. Owner: ``prebuilt/invoking.py``. Waits for coroutines of tools. Ends with the
    node.
``distgraph-deadline``
    In: worker. Owner: ``worker/deadline.py``. Waits for the end of one attempt, or of its time.
    Ends with the attempt.
``distgraph-woken``
    In: caller (local). Owner: ``backends/local.py``. Waits for the lock of a run whose timer is
    due. Ends with the event.
``distgraph-registry``
    In: server. Owner: ``serve/database.py``. Waits for the registry's database. Ends after 10 s
    without any work.
``distgraph-warm``
    In: server. Owner: ``actors/serve.py``. Waits for the session's first driver, to be started.
    Ends with the start.
``distgraph-takeover``
    In: broker. Owner: ``actors/broker.py``. Waits for the driver that replaces one that died.
    Ends with its start.
``distgraph-mirror``
    In: broker. Owner: ``actors/mirror.py``. Waits for the mirror that replaces one that died. Ends
    with its start.
``distgraph-metrics``
    In: all. Owner: ``actors/metrics.py``. Waits for the next time that metrics are exported.
    Ends with the process.
``distgraph-spans``
    In: worker. Owner: ``spans.py``. Waits for the exporter of OpenTelemetry. Ends with the
    export.
``distgraph-leases``
    In: driver. Owner: ``actors/leases.py``. Waits for calls of Ray that start and end leases.
    Ends with the process.
``distgraph-executors``
    In: driver. Owner: ``actors/executors.py``. Waits for calls of Ray that end executors. Ends
    with the process.
"""
