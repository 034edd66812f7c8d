// A route whose target the machine itself sends back to it, in the network that this is run in: what goes
// to 198.51.100.5:53 comes to port 5300 here. Prints what the route has counted once its datagram has
// come round. A program of its own: client and ambassador have to be in that network.

import { startUdpPeer } from "./datagrams.ts";
import { startUdpRoute } from "./udp_program.ts";

async function goRound(): Promise<void> {
  const target = { hostname: "198.51.100.5", port: 53 };
  await using route = await startUdpRoute([target], { hostname: "0.0.0.0", port: 5300 });
  await using client = startUdpPeer();
  await client.send("round", { hostname: "127.0.0.1", port: 5300 });
  await route.program.line(/ ERROR loop_detected .*198\.51\.100\.5:53 .*hint=/);
  const { up, dropped, opened } = await route.counted(({ lost }) => lost > 0, "it is counted");
  console.log(JSON.stringify({ up: up.datagrams, dropped, opened, status: await route.stop() }));
}

if (import.meta.main) await goRound();
