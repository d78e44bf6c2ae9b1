ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
# From the wheel that the tests install.
COPY weed /usr/bin/weed
VOLUME /data
