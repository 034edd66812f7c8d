#!/usr/bin/env bash
# Each case stands alone: copy what you need, this is no script. `docker build -t IMAGE .` makes the
# image. A port is published for this machine alone, 127.0.0.1, unless other hosts have to reach it.

# The consumer runs on this machine: it finds Redis at 127.0.0.1:6379, wherever Redis is.
docker run -d --name redis-ambassador -p 127.0.0.1:6379:6379 \
  -e REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 registry.example.com/ambassador:0.1.0

# The same without a variable.
docker run -d --name redis-ambassador -p 127.0.0.1:6379:6379 \
  registry.example.com/ambassador:0.1.0 6379=192.0.2.10:6379

# The consumer runs in a container: on its network the ambassador has the name of Redis.
docker network create consumer
docker run -d --name redis-client-side --network consumer --network-alias redis \
  -e REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 registry.example.com/ambassador:0.1.0
docker exec redis-client-side /ambassador wait --timeout 30s    # until Redis itself accepts
docker run --rm --network consumer docker.io/library/redis:7.4 redis-cli -h redis PING

# The other host, where Redis runs: an ambassador opens it to 192.0.2.20 alone, and Redis itself is
# not published. What passes between the hosts is plain text; docs/tls.md encrypts it.
docker network create redis
docker run -d --name redis --network redis docker.io/library/redis:7.4
docker run -d --name redis-server-side --network redis -p 192.0.2.10:6379:6379 \
  -e 'REDIS_PORT_6379_TCP=tcp://redis:6379?allow=192.0.2.20' registry.example.com/ambassador:0.1.0

# Several links in one container, all locked that can be, with limits, and 30 s for open connections
# at a stop: --stop-timeout has to be longer, since Docker kills then.
docker run -d --name ambassadors -p 127.0.0.1:6379:6379 -p 127.0.0.1:5432:5432 \
  --restart=unless-stopped --read-only --cap-drop=ALL --security-opt=no-new-privileges \
  --memory=256m --cpus=1 --ulimit=nofile=65536:65536 --stop-timeout=35 \
  -e AMBASSADOR_DRAIN_TIMEOUT=30s \
  -e REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 \
  -e DB_PORT_5432_TCP=tcp://db.example.com:5432 registry.example.com/ambassador:0.1.0
