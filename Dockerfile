# An image for all pods of a cluster: head and workers need the same Python, Ray and packages.
#
#   docker build -t registry.example.com/distgraph:2.60.0-py311 .
#   docker build --build-arg EXTRAS=agents,postgres,progress --build-arg PROJECT=my_project -t … .
#
# PROJECT is a folder below this one with your own program; its requirements.txt is installed, if
# there is one. Without it, the image has the examples.
FROM rayproject/ray:2.60.0-py311

ARG EXTRAS=agents,postgres
ARG PROJECT=examples

COPY --chown=ray:users pyproject.toml README.md LICENSE /home/ray/distgraph/
COPY --chown=ray:users distgraph /home/ray/distgraph/distgraph
COPY --chown=ray:users actors /home/ray/distgraph/actors
RUN pip install --no-cache-dir "/home/ray/distgraph[${EXTRAS}]"

COPY --chown=ray:users ${PROJECT} /home/ray/project
RUN if [ -f /home/ray/project/requirements.txt ]; then \
      pip install --no-cache-dir -r /home/ray/project/requirements.txt; \
    fi

# Fails the build, not the first run, where something does not fit.
RUN python -c "import actors, distgraph; print('distgraph', distgraph.__version__)"

WORKDIR /home/ray/project
ENV PYTHONPATH=/home/ray/project PYTHONUNBUFFERED=1 DISTGRAPH_STATUS=off
