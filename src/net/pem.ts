// PEM as people have it: with CRLF, indented, with text around its blocks. It gives the blocks in the one
// form that every reader takes, and knows nothing of what is in them.

/** One block. */
export interface PemBlock {
  /** What stands behind `BEGIN`: `CERTIFICATE`, `PRIVATE KEY`. */
  readonly label: string;
  /** Whether it says that it is encrypted. */
  readonly isEncrypted: boolean;
  /** What is in it; undefined if it is not base64. */
  readonly der: Uint8Array | undefined;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----((?:(?!-----)[^])*)-----END \1-----/g;

/** Every block of a text, in their order. What is no block is passed over. */
export function readPem(text: string): PemBlock[] {
  return [...text.matchAll(BLOCK)].map(([, label = "", body = ""]) => ({
    label,
    isEncrypted: label.includes("ENCRYPTED") || body.includes("ENCRYPTED"),
    der: decode(body),
  }));
}

/** How many blocks of a text have a beginning and no end. */
export function countUnended(text: string): number {
  const begun = text.match(/-----BEGIN [A-Z0-9 ]+-----/g)?.length ?? 0;
  return begun - (text.match(BLOCK)?.length ?? 0);
}

/** A block as PEM. */
export function formatPem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}

function decode(body: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(body);
  } catch {
    return undefined;
  }
}
