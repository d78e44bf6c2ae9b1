// Reads custom resources as a JSON list from stdin, and writes for each what its schema has against it, as JSON.
// The compiled schemas let unknown fields pass, so each field must be in the type declarations beside them.
"use strict";
const fs = require("fs");
const path = require("path");

const modules = process.argv[2];
const PACKAGES = {
  "keda.sh/v1alpha1": "keda",
  "monitoring.coreos.com/v1": "prometheus-operator",
  "postgresql.cnpg.io/v1": "cloudnative-pg",
};
// Maps whose keys are the author's; and what is declared elsewhere, by Kubernetes itself.
const FREE = new Set([
  "labels", "annotations", "parameters", "resources", "behavior", "selector", "labelSelector",
]);

function declarations(folder) {
  return fs.readdirSync(folder).filter((name) => name.endsWith(".d.ts"))
    .map((name) => fs.readFileSync(path.join(folder, name), "utf8")).join("\n");
}

function* fields(value, inTrigger = false) {
  if (Array.isArray(value)) {
    for (const each of value) yield* fields(each, inTrigger);
  } else if (value !== null && typeof value === "object") {
    for (const [key, inner] of Object.entries(value)) {
      yield key;
      const free = FREE.has(key) || (inTrigger && key === "metadata");
      if (!free) yield* fields(inner, key === "triggers");
    }
  }
}

function problems(resource) {
  const name = PACKAGES[resource.apiVersion];
  if (name === undefined) return null;
  const folder = path.join(modules, "@kubernetes-models", name, resource.apiVersion);
  const Kind = require(path.join(folder, resource.kind))[resource.kind];
  const found = [];
  try {
    new Kind(resource).validate();
  } catch (error) {
    found.push(error.message);
  }
  const known = declarations(folder);
  for (const field of new Set(fields(resource.spec))) {
    if (!new RegExp(`\\b${field}"?\\??:`).test(known)) found.push(`no field ${field}`);
  }
  return found;
}

const resources = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(resources.map(problems)));
