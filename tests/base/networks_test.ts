import { assert, assertEquals, assertThrows } from "@std/assert";
import { BlockList, isIP } from "node:net";
import { Networks, parseNetworks } from "../../src/base/networks.ts";
import { Random } from "../helpers/mod.ts";

const CASES = Number(Deno.env.get("FUZZ_CASES") ?? 100_000);

Deno.test("parseNetworks() reads networks and addresses, and prints them in the order written", () => {
  const cases = {
    "10.0.0.0/8": "10.0.0.0/8",
    "10.0.0.0/8,192.0.2.1,2001:db8::/32": "10.0.0.0/8,192.0.2.1,2001:db8::/32",
    "2001:db8::/32,10.0.0.0/8": "2001:db8::/32,10.0.0.0/8",
    " 10.0.0.0/8 ,\t192.0.2.1\n": "10.0.0.0/8,192.0.2.1",
    "192.0.2.1/32": "192.0.2.1",
    "2001:db8::1/128": "2001:db8::1",
    "2001:DB8:0:0:0:0:0:7": "2001:db8::7",
    "::192.0.2.1": "::c000:201",
    "10.1.2.3/8": "10.0.0.0/8",
    "10.255.255.255/9": "10.128.0.0/9",
    "192.0.2.3/31": "192.0.2.2/31",
    "2001:db8:ffff::1/33": "2001:db8:8000::/33",
    "0.0.0.0/0": "0.0.0.0/0",
    "255.255.255.255/0": "0.0.0.0/0",
    "::/0": "::/0",
    "::1": "::1",
    "::ffff:10.0.0.0/104": "10.0.0.0/8",
    "::ffff:192.0.2.1": "192.0.2.1",
    "::FFFF:c000:0201/128": "192.0.2.1",
    "::ffff:0.0.0.0/96": "0.0.0.0/0",
    "::ffff:10.0.0.0/95": "::fffe:0:0/95",
    "::ffff:10.0.0.0/80": "::/80",
    "10.0.0.1/8,192.0.2.1,10.0.0.0/8,::ffff:192.0.2.1": "10.0.0.0/8,192.0.2.1",
    "10.1.0.0/16,10.0.0.0/8": "10.1.0.0/16,10.0.0.0/8",
    "all": "all",
    " ALL ": "all",
    "Off": "off",
  };
  for (const [text, printed] of Object.entries(cases)) {
    assertEquals(parseNetworks(text).toString(), printed, text);
    assertEquals(parseNetworks(printed).toString(), printed);
  }
  assert(parseNetworks("all") === Networks.ALL && parseNetworks("off") === Networks.NONE);
});

Deno.test("parseNetworks() refuses everything else and says why", () => {
  const missing = "an address is missing";
  const neither = "not an IP address or a network; names can't be used here";
  const brackets = "IPv6 addresses stand without brackets here";
  const netmask = "a netmask can't be used here: write the prefix length, such as /24";
  const range = "a range can't be used here: write networks, such as 192.0.2.0/24";
  const zone = "a zone can't be checked, since sockets do not tell it: leave it out";
  const notNumber = "the prefix length after the slash is not a number";
  const leadingZero = "the prefix length has a leading zero";
  const cases = {
    "": missing,
    " ": missing,
    ",": missing,
    "10.0.0.0/8,": missing,
    "10.0.0.0/8,,192.0.2.1": missing,
    "redis": neither,
    "redis-1.example.com": neither,
    "redis/8": neither,
    "/8": neither,
    "10.0.0/8": neither,
    "10.0.0.256": neither,
    "010.0.0.1": neither,
    "10.0.0.*": neither,
    "10.0.0.1:80": neither,
    "10.0.0.0%2F8": neither,
    "10.0.0.0 192.0.2.1": "networks are separated by commas",
    "10.0.0.0;192.0.2.1": "networks are separated by commas",
    "10.0.0.0 /8": neither,
    "1::2::3": neither,
    "[::1]": brackets,
    "[2001:db8::]/32": brackets,
    "10.0.0.0/255.0.0.0": netmask,
    "2001:db8::/ffff:ffff::": netmask,
    "10.0.0.1-10.0.0.9": range,
    "10.0.0.1 - 10.0.0.9": range,
    "10.0.0.1-9": range,
    "2001:db8::1-2001:db8::9": range,
    "fe80::1%eth0": zone,
    "fe80::%eth0/10": zone,
    "fe80::/10%eth0": zone,
    "10.0.0.0/": notNumber,
    "10.0.0.0/x": notNumber,
    "10.0.0.0/-8": notNumber,
    "10.0.0.0/+8": notNumber,
    "10.0.0.0/8.0": notNumber,
    "10.0.0.0/ 8": notNumber,
    "10.0.0.0/8/8": notNumber,
    "10.0.0.0/８": notNumber,
    "10.0.0.0/08": leadingZero,
    "10.0.0.0/00": leadingZero,
    "all,10.0.0.0/8": `"all" stands alone, without addresses beside it`,
    "10.0.0.0/8, OFF": `"off" stands alone, without addresses beside it`,
    "all,all": `"all" stands alone, without addresses beside it`,
  };
  for (const [text, why] of Object.entries(cases)) {
    const error = assertThrows(() => parseNetworks(text), SyntaxError);
    assertEquals(error.message, why, text);
  }
  for (const [text, bits] of [["10.0.0.0/33", 32], ["::/129", 128], ["::/99999999999", 128]]) {
    const error = assertThrows(() => parseNetworks(String(text)), RangeError);
    assertEquals(error.message, `the prefix length is not from 0 to ${bits}`);
  }
});

Deno.test("Networks.has() tells what lies in a network from what does not", () => {
  const list = "10.0.0.0/8,10.1.0.0/16,192.0.2.1,2001:db8::/32,fe80::/10,::1";
  const inside = [
    ...["10.0.0.0", "10.0.255.1", "10.1.2.3", "10.200.0.1", "10.255.255.255", "192.0.2.1"],
    ...["::ffff:10.1.2.3", "::ffff:a01:203", "::FFFF:0A01:0203", "0:0:0:0:0:ffff:192.0.2.1"],
    ...["2001:db8::", "2001:DB8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "::1"],
    ...["fe80::1%eth0", "fe80::1%2", "fe80::1%br-1a:2%x", "::ffff:192.0.2.1%eth0"],
  ];
  const outside = [
    ...["9.255.255.255", "11.0.0.0", "192.0.2.0", "192.0.2.2", "0.0.0.0", "255.255.255.255"],
    ...["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "::", "::2", "fec0::"],
    ...["::10.1.2.3", "::a01:203", "::fffe:10.1.2.3", "1::ffff:10.1.2.3"],
    ...[
      "",
      "redis",
      "10.1.2",
      "10.1.2.3.",
      "10.1.2.3 ",
      "010.1.2.3",
      "10.1.2.3%eth0",
      "10.1.2.3/8",
    ],
    ...["[::1]", "fe80::1%", "%eth0", "fe80::1:", ":fe80::1", "fe80:::1", "10.1.2.3::1"],
    ...["10.1.2.3%a:b", "1:2:3:4:5:6:7::8", "unix:/tmp/x", "１０.1.2.3"],
  ];
  const networks = parseNetworks(list);
  for (const address of inside) assert(networks.has(address), address);
  for (const address of outside) assert(!networks.has(address), address);
});

Deno.test("Networks.has() takes IPv4 clients only for IPv4 networks", () => {
  const [ipv4, ipv6] = [parseNetworks("0.0.0.0/0"), parseNetworks("::/0")];
  for (const address of ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"]) {
    assert(ipv4.has(address) && !ipv6.has(address), address);
    assert(parseNetworks("::ffff:0:0/96").has(address), address);
    assert(!parseNetworks("::ffff:0:0/95").has(address), address);
  }
  for (const address of ["2001:db8::1", "::", "::192.0.2.1"]) {
    assert(!ipv4.has(address) && ipv6.has(address), address);
  }
});

Deno.test("Networks.ALL takes everything, and Networks.NONE nothing", () => {
  for (const text of ["192.0.2.1", "::1", "::ffff:192.0.2.1", "fe80::1%eth0", "", "redis"]) {
    assert(Networks.ALL.has(text) && !Networks.NONE.has(text), text);
  }
});

Deno.test("Networks.isEverybody sees when a family is covered", () => {
  const everybody = ["all", "0.0.0.0/0", "::/0", "192.0.2.1,0.0.0.0/0", "::ffff:0:0/96"];
  const nested = ["0.0.0.0/0,255.255.255.255", "::/0,::,::"];
  const together = [
    "0.0.0.0/1,128.0.0.0/1",
    "8000::/1,::/1,::1",
    "128.0.0.0/1,0.0.0.0/2,64.0.0.0/2",
  ];
  // Each network of these holds half of what is left; the last of all is still missing.
  const halves = (bits: number, address: (bit: number) => string): string =>
    Array.from({ length: bits }, (_, bit) => `${address(bit)}/${bit + 1}`).join(",");
  const ipv4 = halves(32, (bit) => formatIpv4(1n << BigInt(31 - bit)));
  const ipv6 = halves(128, (bit) => formatIpv6(1n << BigInt(127 - bit)));
  for (const text of [...everybody, ...nested, ...together, `${ipv4},0.0.0.0`, `${ipv6},::`]) {
    assert(parseNetworks(text).isEverybody, text);
  }
  const overlapping = "0.0.0.0/1,0.0.0.0/2,64.0.0.0/2";
  for (const text of ["off", "0.0.0.0/1,::/1", "0.0.0.0/1,0.0.0.0/1", overlapping, ipv4, ipv6]) {
    assert(!parseNetworks(text).isEverybody, text);
  }
});

/** A network over all addresses, where IPv4 is what it is as IPv6: `::ffff:0:0/96`. */
interface Block {
  readonly address: bigint;
  readonly prefix: number;
}

const MAPPED = 0xffffn << 32n;
const LAST = (1n << 128n) - 1n;

function isMapped(address: bigint): boolean {
  return address >> 32n === 0xffffn;
}

function formatIpv4(address: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => address >> shift & 255n).join(".");
}

/** All eight groups. */
function formatIpv6(address: bigint): string {
  return Array.from({ length: 8 }, (_, at) => address >> BigInt(112 - 16 * at) & 0xffffn)
    .map((group) => group.toString(16)).join(":");
}

function randomBits(random: Random): bigint {
  return random.bytes(16).reduce((sum, byte) => sum << 8n | BigInt(byte), 0n);
}

/** One of the spellings of an address. */
function spell(random: Random, address: bigint): string {
  const low = address & 0xffffffffn;
  const full = formatIpv6(address);
  if (isMapped(address) && random.below(2) === 0) return formatIpv4(low);
  const text = random.pick([
    () => full,
    () => full.replace(/\b[0-9a-f]+\b/g, (group) => group.padStart(1 + random.below(4), "0")),
    () => new URL(`http://[${full}]`).hostname.slice(1, -1),
    () => full.replace(/(?:^|:)0(?::0)*(?::|$)/, "::"),
    () => full.replace(/[^:]+:[^:]+$/, formatIpv4(low)),
    () => new URL(`http://[${full}]`).hostname.slice(1, -1).replace("::ffff:", "::FFFF:"),
  ])();
  const zone = random.below(8) === 0 ? `%${random.pick(["eth0", "2", "br-1_x", "a:b"])}` : "";
  return (random.below(4) === 0 ? text.toUpperCase() : text) + zone;
}

/** Networks of both families, many small, some next to another or within it. */
function randomBlocks(random: Random): Block[] {
  const blocks: Block[] = [];
  for (let count = 1 + random.below(12); count > 0; count--) {
    const isIpv4 = random.below(2) === 0;
    const near = blocks.length > 0 && random.below(3) === 0 ? random.pick(blocks) : undefined;
    const bits = near?.address ?? (isIpv4
      ? MAPPED | randomBits(random) & 0xffffffffn
      // Also networks round the one of the IPv4 addresses, and at the very start.
      : randomBits(random) >> BigInt(random.pick([0, 0, 0, 64, 79, 80, 81, 128])));
    const address = bits ^ (near === undefined ? 0n : 1n << BigInt(random.below(33)));
    const prefix = isMapped(address) && random.below(8) > 0
      ? 96 + random.below(33)
      : random.pick([random.below(129), 128, 127, 64, 48, 96, 95, 0]);
    blocks.push({ address, prefix });
  }
  return blocks;
}

/** An address at one of the edges of the network, somewhere in it, or anywhere. */
function randomClient(random: Random, { address, prefix }: Block): bigint {
  const host = (1n << BigInt(128 - prefix)) - 1n;
  const first = address & ~host;
  return LAST & random.pick([
    () => first,
    () => first | host,
    () => first - 1n,
    () => (first | host) + 1n,
    () => first | randomBits(random) & host,
    () => first | randomBits(random) & host,
    () => first ^ 1n << BigInt(random.below(128)),
    () => MAPPED | randomBits(random) & 0xffffffffn,
    () => randomBits(random),
  ])();
}

function spellBlock(random: Random, { address, prefix }: Block): string {
  const text = spell(random, address).replace(/%.*/, "");
  return `${text}/${text.includes(":") ? prefix : prefix - 96}`;
}

Deno.test("Networks.has() agrees with node's BlockList", () => {
  const random = new Random();
  console.error(`seed: ${random.seed}`);
  const found = { hits: 0, misses: 0 };
  for (let done = 0; done < CASES;) {
    const blocks = randomBlocks(random);
    // Apart, because BlockList holds IPv4 clients against IPv6 networks too.
    const [ipv4, ipv6] = [new BlockList(), new BlockList()];
    const pieces = blocks.map(({ address, prefix }) => {
      if (isMapped(address) && prefix >= 96) {
        ipv4.addSubnet(formatIpv4(address), prefix - 96, "ipv4");
        return spellBlock(random, { address, prefix });
      }
      ipv6.addSubnet(formatIpv6(address), prefix, "ipv6");
      return `${formatIpv6(address)}/${prefix}`;
    });
    const text = pieces.join(",");
    const networks = parseNetworks(text);
    const again = parseNetworks(networks.toString());
    assertEquals(again.toString(), networks.toString());
    for (const end = done + 100; done < end; done++) {
      const client = randomClient(random, random.pick(blocks));
      const spelt = spell(random, client);
      const expected = isMapped(client)
        ? ipv4.check(formatIpv4(client), "ipv4")
        : ipv6.check(formatIpv6(client), "ipv6");
      const message = `SEED=${random.seed}: ${spelt} in ${text}`;
      assertEquals(networks.has(spelt), expected, message);
      assertEquals(again.has(spelt), expected, message);
      found[expected ? "hits" : "misses"]++;
    }
  }
  const { hits, misses } = found;
  assert(Math.min(hits, misses) > CASES / 5, `${hits} hits, ${misses} misses`);
});

Deno.test("Networks.has() knows an address from what only looks like one, as isIP() does", () => {
  const random = new Random();
  console.error(`seed: ${random.seed}`);
  const networks = parseNetworks("0.0.0.0/0,::/0");
  const odd = [
    ..."0123456789abcdefABCDEF:.:.:.%gG -+/[]\0\n\u0661\uff11\ud800",
    "::",
    "",
    "00",
    "%0",
  ];
  let valid = 0;
  for (let i = 0; i < CASES; i++) {
    const isIpv4 = random.below(2) === 0;
    let text = spell(random, (isIpv4 ? MAPPED : 0n) | randomBits(random) >> (isIpv4 ? 96n : 0n));
    for (let rounds = random.below(4); rounds > 0; rounds--) {
      const at = random.below(text.length + 1);
      text = text.slice(0, at) + random.pick(odd) + text.slice(at + random.below(3));
    }
    const zone = text.search(/(?<=:.*)%./s);
    const expected = isIP(zone < 0 ? text : text.slice(0, text.indexOf("%"))) !== 0;
    assertEquals(networks.has(text), expected, `SEED=${random.seed}: ${JSON.stringify(text)}`);
    if (expected) valid++;
  }
  assert(valid > CASES / 5 && valid < CASES * 4 / 5, `${valid} of ${CASES} were addresses`);
});

Deno.test("parseNetworks() throws nothing but what it documents, and what it takes prints back", () => {
  const random = new Random();
  console.error(`seed: ${random.seed}`);
  const odd = [..."0123456789:./,%- []\0\n\u{1f600}", "all", "off", ",", "/0", "/128", "::", "-1"];
  let accepted = 0;
  for (let i = 0; i < CASES / 5; i++) {
    let text = randomBlocks(random).slice(0, 2)
      .map(({ address, prefix }) => `${formatIpv6(address)}/${prefix}`).join(",");
    for (let rounds = random.below(3); rounds > 0; rounds--) {
      const at = random.below(text.length + 1);
      text = text.slice(0, at) + random.pick(odd) + text.slice(at + random.below(3));
    }
    try {
      const printed = parseNetworks(text).toString();
      assertEquals(parseNetworks(printed).toString(), printed);
      accepted++;
    } catch (cause) {
      const isDocumented = cause instanceof SyntaxError || cause instanceof RangeError;
      if (isDocumented && !/[^ -~]/.test(cause.message)) continue;
      throw new Error(`SEED=${random.seed}: ${JSON.stringify(text)}`, { cause });
    }
  }
  assert(accepted > CASES / 20, `only ${accepted} cases were accepted`);
});
