// What the contract names and this version does not do. It is refused by name, as an argument, a
// variable or a setting, and never merely warned of: it may be meant as protection. Whoever builds one
// of these takes its name out of here.

/** What is said of each. */
export const NOT_YET = "not supported yet";

/** Options with a value, and settings of the same names. */
export const OPTIONS_NOT_YET: readonly string[] = ["udp-timeout", "max-sessions"];

/** Options without a value. */
export const FLAGS_NOT_YET: readonly string[] = ["probe"];

/** Ways to listen, and to reach a target. */
export const PROTOCOLS_NOT_YET: readonly string[] = ["udp"];
