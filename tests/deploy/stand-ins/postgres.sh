#!/bin/sh
# Makes the database on the first start, as the official image does.
set -eu
if [ ! -e "$PGDATA/made" ]; then
    find "$PGDATA" -mindepth 1 -delete
    echo "$POSTGRES_PASSWORD" >/tmp/password
    initdb -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C.UTF-8
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "local all all trust" >"$PGDATA/pg_hba.new"
    cat "$PGDATA/pg_hba.conf" >>"$PGDATA/pg_hba.new"
    mv "$PGDATA/pg_hba.new" "$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses=''" start
    createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -w stop
    touch "$PGDATA/made"
fi
exec postgres -c listen_addresses='*'
