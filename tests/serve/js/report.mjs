// Every script prints one line of JSON: what its client has seen.
export const url = process.argv[2];

export function report(seen) {
  process.stdout.write(JSON.stringify(seen) + "\n", () => process.exit(0));
}

export async function collect(stream) {
  const all = [];
  for await (const item of stream) all.push(item);
  return all;
}
