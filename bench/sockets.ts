// The system's own calls for sockets, by FFI, for load generators that no event loop may slow down.
// Linux. It knows nothing of what is sent.

const LIBRARY = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "pointer"], result: "i32" },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The calls by their names in C. */
export type Libc = Deno.DynamicLibrary<typeof LIBRARY>["symbols"];

/** Opens the C library. */
export function openLibc(): Libc {
  return Deno.dlopen("libc.so.6", LIBRARY).symbols;
}

/** Linux's numbers for what its headers call by these names, on the machines that Deno runs on. */
export const LINUX = {
  AF_INET: 2,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_NONBLOCK: 0x800,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  MSG_WAITFORONE: 0x10000,
  IPPROTO_IP: 0,
  IP_BIND_ADDRESS_NO_PORT: 24,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  SOL_SOCKET: 1,
  SO_ERROR: 4,
  SO_RCVBUF: 8,
  SO_LINGER: 13,
  SO_SNDTIMEO: 21,
  EPOLLIN: 1,
  EPOLLOUT: 4,
  EPOLLERR: 8,
  EPOLLHUP: 0x10,
  EPOLLET: 1 << 31,
  EPIPE: 32,
  ECONNRESET: 104,
} as const;

/** How long a `struct sockaddr_in` is, in bytes. */
export const ADDRESS_BYTES = 16;

/** A `struct sockaddr_in` of an IPv4 address. */
export function addressOf(hostname: string, port: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(ADDRESS_BYTES);
  address.set([LINUX.AF_INET, 0, port >> 8, port & 255, ...hostname.split(".").map(Number)]);
  return address;
}

/** A socket that has something to tell, and which of the `EPOLL…` it is. */
export interface SocketEvent {
  /** What the socket was added with. */
  readonly data: number;
  readonly flags: number;
}

/** Most that are told at once. */
const MAX_EVENTS = 512;
/** `struct epoll_event` is packed on this architecture alone. */
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
const EPOLL_CTL_ADD = 1;

/** Sockets that are waited for together. */
export class Epoll {
  readonly #events = new Int32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #libc: Libc;
  readonly #descriptor: number;

  /** None yet. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.#descriptor = libc.epoll_create1(0);
  }

  /** Waits for this socket too, and tells of it as `data`. */
  add(descriptor: number, { data, flags }: SocketEvent): void {
    const event = new Int32Array(EVENT_WORDS);
    event[0] = flags;
    event[EVENT_WORDS - 2] = data;
    this.#libc.epoll_ctl(this.#descriptor, EPOLL_CTL_ADD, descriptor, event);
  }

  /** Waits once, for this long at most, and tells of each; how many there were. */
  wait(limitMs: number, onEvent: (event: SocketEvent) => void): number {
    const count = this.#libc.epoll_wait(this.#descriptor, this.#events, MAX_EVENTS, limitMs);
    for (let at = 0; at < count; at++) {
      const flags = this.#events[at * EVENT_WORDS] ?? 0;
      onEvent({ flags, data: this.#events[at * EVENT_WORDS + EVENT_WORDS - 2] ?? 0 });
    }
    return count;
  }
}
