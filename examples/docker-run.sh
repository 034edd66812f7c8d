# Each case stands alone: copy what you need, this is no script.

# One ambassador: the consumer finds Redis at port 6379 of this machine, wherever Redis is.
docker run -d --name redis-ambassador -p 6379:6379 \
  -e REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 ambassador

# Two hosts. Where Redis runs, an ambassador on a network with it opens it to the other host.
docker network create redis
docker run -d --name redis --network redis redis
docker run -d --name redis-server-side --network redis -p 6379:6379 \
  -e REDIS_PORT_6379_TCP=tcp://redis:6379 ambassador

# Where the consumer runs, an ambassador takes the name and the place of Redis.
docker network create consumer
docker run -d --name redis-client-side --network consumer --network-alias redis \
  -e REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 ambassador
docker run -it --rm --network consumer redis redis-cli -h redis PING

# Several links in one container, and everything locked that can be.
docker run -d --name ambassadors -p 6379:6379 -p 5432:5432 \
  --read-only --cap-drop=ALL --security-opt=no-new-privileges --ulimit=nofile=65536:65536 \
  -e REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 \
  -e DB_PORT_5432_TCP=tcp://db.example.com:5432 ambassador

# Without a variable.
docker run -d -p 6379:6379 ambassador 6379=192.0.2.10:6379
