// A program that sends datagrams as fast as it can, until it is ended: to a port of 127.0.0.1, from the
// same few sockets (`few`) or each from an address and a port that are new (`new`).
//
//     deno run -A --unstable-net tests/helpers/udp_flood.ts PORT few|new

const [port, sources] = Deno.args;
const to = { transport: "udp", hostname: "127.0.0.1", port: Number(port) } as const;

function open(index: number): Deno.DatagramConn {
  const hostname = `127.2.${index >> 8 & 255}.${index & 255}`;
  return Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
}

const few = Array.from({ length: 4 }, (_, index) => open(index));
const data = new Uint8Array(512);
console.log("sending");
for (let index = few.length;; index++) {
  if (sources === "new") {
    const socket = open(index);
    await socket.send(data, to);
    socket.close();
  } else await few[index % few.length]?.send(data, to);
  // So that it can be told to end.
  if (index % 64 === 0) await new Promise((resolve) => setTimeout(resolve));
}
