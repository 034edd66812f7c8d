// What the contract names and this version does not do. It is refused by name, as an argument or a
// variable, and never merely warned of: it may be meant as protection. Whoever builds one of these takes
// its name out of here.

/** What is said of each. */
export const NOT_YET = "not supported yet";

/** Options without a value. */
export const FLAGS_NOT_YET: readonly string[] = ["probe"];
