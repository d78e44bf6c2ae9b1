ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-17 && rm -rf /var/lib/apt/lists/* \
    && rm -rf /var/lib/postgresql/* \
    && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data /var/run/postgresql
COPY postgres.sh /postgres.sh
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
USER postgres
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
CMD ["/bin/sh", "/postgres.sh"]
