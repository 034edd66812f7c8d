// Stands in for @std/log/levels where JSR is out of reach.

/** The levels by name. */
export const LogLevels = { DEBUG: 10, INFO: 20, WARN: 30, ERROR: 40 } as const;

/** A level's name. */
export type LevelName = keyof typeof LogLevels;
