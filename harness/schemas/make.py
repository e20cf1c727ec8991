#!/usr/bin/env python3
"""Makes these schemas anew: make.py SWAGGER_JSON FOLDER_OF_CRDS FOLDER_OF_BOMS, into the folder that it is in.

SWAGGER_JSON is api/openapi-spec/swagger.json of a Kubernetes release. FOLDER_OF_CRDS has CustomResourceDefinitions as
JSON, one a file, as lint/schemas has them or as `kubectl get crd NAME -o json` prints them. FOLDER_OF_BOMS has the
schemas of CycloneDX, as the wheel cyclonedx-python-lib has them in cyclonedx/schema/_res."""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
# Kinds that the manifests have, by their names in swagger.json.
KINDS = [
    "core.v1.ConfigMap", "core.v1.Namespace", "core.v1.PersistentVolumeClaim", "core.v1.Secret", "core.v1.Service",
    "core.v1.ServiceAccount", "apps.v1.Deployment", "apps.v1.StatefulSet", "batch.v1.CronJob", "batch.v1.Job",
    "autoscaling.v2.HorizontalPodAutoscaler", "policy.v1.PodDisruptionBudget", "networking.v1.NetworkPolicy",
    "rbac.v1.Role", "rbac.v1.RoleBinding", "rbac.v1.ClusterRole", "rbac.v1.ClusterRoleBinding",
    "admissionregistration.v1.ValidatingAdmissionPolicy", "admissionregistration.v1.ValidatingAdmissionPolicyBinding",
]
PREFIX = "io.k8s.api."


def strict(node):
    """Without prose, and with unknown fields refused wherever the known ones are listed."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key != "description" and not key.startswith("x-kubernetes")}
    open_ended = node.get("x-kubernetes-preserve-unknown-fields")
    for key, value in kept.items():
        if key in ("properties", "definitions") and isinstance(value, dict):
            kept[key] = {name: strict(schema) for name, schema in value.items()}
        elif key not in ("enum", "default", "required"):
            kept[key] = strict(value)
    if node.get("x-kubernetes-int-or-string") or node.get("format") == "int-or-string":
        kept = {"type": ["string", "integer"]}
    if "properties" in kept and "additionalProperties" not in kept and not open_ended:
        kept["additionalProperties"] = False
    if kept.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    return kept


def write(path, schema):
    path.write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")


def kubernetes(swagger):
    known = json.loads(pathlib.Path(swagger).read_text())["definitions"]
    used, wanted = {}, [PREFIX + kind for kind in KINDS]
    while wanted:
        name = wanted.pop()
        if name in used:
            continue
        schema = strict(known[name])
        if name.endswith("resource.Quantity"):
            schema = {"type": ["string", "number"]}
        text = json.dumps(schema)
        wanted += [part.split('"')[0] for part in text.split('"#/definitions/')[1:]]
        used[name] = json.loads(text.replace('"#/definitions/', '"_definitions.json#/definitions/'))
    write(HERE / "kubernetes/_definitions.json", {"definitions": used})
    for kind in KINDS:
        gvk = known[PREFIX + kind]["x-kubernetes-group-version-kind"][0]
        group = gvk["group"].split(".")[0]
        name = "-".join(part for part in (gvk["kind"], group, gvk["version"]) if part).lower()
        api_version = "/".join(part for part in (gvk["group"], gvk["version"]) if part)
        fixed = {"properties": {"apiVersion": {"const": api_version}, "kind": {"const": gvk["kind"]}}}
        reference = {"$ref": f"_definitions.json#/definitions/{PREFIX}{kind}"}
        write(HERE / f"kubernetes/{name}.json", {"allOf": [reference, fixed], "required": ["apiVersion", "kind", "metadata"]})


def custom(folder):
    for file in sorted(pathlib.Path(folder).glob("*.json")):
        crd = json.loads(file.read_text())
        if "schema" in crd:
            versions = [(crd["group"], crd["kind"], crd["version"], crd["schema"])]
        else:
            spec = crd["spec"]
            versions = [(spec["group"], spec["names"]["kind"], one["name"], one["schema"]["openAPIV3Schema"])
                        for one in spec["versions"]]
        for group, kind, version, schema in versions:
            schema = strict(schema)
            schema["properties"] |= {"apiVersion": {"const": f"{group}/{version}"}, "kind": {"const": kind},
                                     "metadata": {"type": "object"}}
            schema["required"] = sorted({"apiVersion", "kind", "metadata", "spec"} | set(schema.get("required", [])))
            write(HERE / f"crds/{group}_{version}_{kind.lower()}.json", schema)


def bare(node, names=False):
    """Without prose. What a member is called may be the name of a keyword."""
    if isinstance(node, list):
        return [bare(item) for item in node]
    if not isinstance(node, dict):
        return node
    prose = () if names else ("description", "title", "examples", "meta:enum", "deprecated")
    return {key: value if key in ("enum", "const", "default", "required") and not names
            else bare(value, not names and key in ("properties", "definitions", "patternProperties"))
            for key, value in node.items() if key not in prose}


def cyclonedx(folder):
    for name in ("bom-1.6", "spdx", "jsf-0.82"):
        text = (pathlib.Path(folder) / f"{name}.SNAPSHOT.schema.json").read_text().replace(".SNAPSHOT.schema", ".schema")
        write(HERE / f"cyclonedx/{name}.schema.json", bare(json.loads(text)))


if __name__ == "__main__":
    kubernetes(sys.argv[1])
    custom(sys.argv[2])
    cyclonedx(sys.argv[3])
