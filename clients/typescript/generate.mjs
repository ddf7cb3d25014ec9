// Writes the generated sources from the contract; with --check it only compares.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const contract = new URL("../../docs/reference/openapi.json", import.meta.url);
const made = "// Made from openapi.json by `npm run generate`.\n\n";

// Each answer's description names the codes that it may carry, as `code`: title.
function problemStatuses(document) {
  const found = new Map();
  for (const operations of Object.values(document.paths)) {
    for (const operation of Object.values(operations)) {
      for (const [status, answer] of Object.entries(operation.responses ?? {})) {
        if (!answer.content?.["application/problem+json"]) continue;
        for (const [, code] of answer.description.matchAll(/^`(\w+)`: /gm)) {
          found.set(code, status);
        }
      }
    }
  }
  const lines = [...found].sort().map(([code, status]) => `  ${code}: ${status};\n`);
  return `${made}/** Every problem code of the contract, with its HTTP status. */
export interface ProblemStatus {\n${lines.join("")}}\n`;
}

const document = JSON.parse(await readFile(contract, "utf8"));
const schema = astToString(await openapiTS(contract, { defaultNonNullable: false }));
const files = {
  "src/schema.ts": made + schema,
  "src/problem_status.ts": problemStatuses(document),
};
for (const [name, text] of Object.entries(files)) {
  const place = new URL(name, import.meta.url);
  if (!process.argv.includes("--check")) await writeFile(place, text);
  else if ((await readFile(place, "utf8")) !== text) {
    console.error(`${name} is not what openapi.json gives. Next: npm run generate`);
    process.exitCode = 1;
  }
}
