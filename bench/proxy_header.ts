// The PROXY protocol's header of version 2, as a client between IPv4 addresses has it: of HAProxy's
// proxy-protocol.txt no more than that.

/** How long it is, in bytes. */
export const HEADER_BYTES = 28;
/** What it begins with. */
export const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
/** Version 2, PROXY; TCP over IPv4; the length of what follows. */
const KIND = [0x21, 0x11, 0, 12];
/** The port that every client comes from. */
const SOURCE_PORT = [0x80, 0];

/** The header of a client that comes from `source` and connects to the target. */
export function proxyHeader(
  source: string,
  { hostname, port }: { readonly hostname: string; readonly port: number },
): Uint8Array<ArrayBuffer> {
  return new Uint8Array([
    ...new TextEncoder().encode(SIGNATURE),
    ...KIND,
    ...[source, hostname].flatMap((address) => address.split(".").map(Number)),
    ...SOURCE_PORT,
    ...[port >> 8, port & 255],
  ]);
}
