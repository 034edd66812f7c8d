// What the datagrams of the load generator and of its server hold: their kind, then what the generator
// wants to see again. It knows nothing of who sends them.

/** What the server does with a datagram: its first byte. */
export const KIND = {
  /** Sends it back as it is. */
  echo: 0,
  /** Counts it, and says nothing. */
  count: 1,
  /** Sends it back with the number that it has counted (4 bytes, big-endian) as its first bytes. */
  ask: 2,
} as const;

/** The smallest that there is, in bytes. */
export const LEAST_BYTES = 16;
/** The largest that the server takes. */
export const MOST_BYTES = 2048;
