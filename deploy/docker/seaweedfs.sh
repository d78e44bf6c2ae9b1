#!/bin/sh
# Starts SeaweedFS so that what it acknowledges is on disk: fsync for each PUT is an option that the filer keeps.
# Healthy is it once /tmp/durable is there.
set -eu
data="${SEAWEEDFS_DATA:-/data}"
rm -f /tmp/durable

set_fsync() {
    until echo 'fs.configure -locationPrefix=/buckets/ -fsync=true -apply' \
        | weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 2>/dev/null | tr -d ' ' | grep -q '"fsync":true'; do
        sleep 1
    done
    touch /tmp/durable
}

set_fsync &
# Its parts talk to each other over loopback, so that the data can move to a container with another address.
exec weed mini -dir="$data" -ip=127.0.0.1 -ip.bind=0.0.0.0 -s3.port=8333 \
    -webdav=false -admin.ui=false -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false -metricsPort=9327
