// Stands in for @std/assert where JSR is out of reach: the assertions that the tests use, on top of
// node:assert, which ships inside Deno.

import * as node from "node:assert/strict";

/** Fails unless the value is truthy. */
export function assert(value: unknown, message = ""): asserts value {
  node.ok(value, message);
}

/** Fails unless both are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  node.deepStrictEqual(actual, expected, message);
}

/** Fails unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  node.match(actual, expected, message);
}

/** Fails unless the text contains the other. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  node.ok(actual.includes(expected), message ?? `${actual} does not include ${expected}`);
}

/** Fails unless `act` throws an error of this class; returns it. */
export function assertThrows<E extends Error>(
  act: () => unknown,
  // deno-lint-ignore no-explicit-any
  errorClass: new (...args: any[]) => E,
  includes = "",
): E {
  try {
    act();
  } catch (error) {
    return check(error, errorClass, includes);
  }
  node.fail("nothing was thrown");
}

/** Fails unless `act` rejects with an error of this class; resolves to it. */
export async function assertRejects<E extends Error>(
  act: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any
  errorClass: new (...args: any[]) => E,
  includes = "",
): Promise<E> {
  try {
    await act();
  } catch (error) {
    return check(error, errorClass, includes);
  }
  node.fail("nothing was thrown");
}

function check<E extends Error>(
  error: unknown,
  // deno-lint-ignore no-explicit-any
  errorClass: new (...args: any[]) => E,
  includes: string,
): E {
  node.ok(error instanceof errorClass, `${error} is not of the class ${errorClass.name}`);
  assertStringIncludes(error.message, includes);
  return error;
}
