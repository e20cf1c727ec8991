//! What istiod may do at the API server: about what it may on a cluster.

/// The user's name, and that of the namespace's roles.
pub(super) const ISTIOD: &str = "istiod";

/// Reads what a mesh is made of, secrets as well: it waits for them. Writes status and, in its own namespace, leases.
pub(super) const RIGHTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istiod}
rules:
- apiGroups: [""]
  resources: [configmaps, endpoints, namespaces, nodes, pods, secrets, serviceaccounts, services]
  verbs: [get, list, watch]
- apiGroups: [apps, batch, discovery.k8s.io, networking.k8s.io, apiextensions.k8s.io, admissionregistration.k8s.io]
  resources: ["*"]
  verbs: [get, list, watch]
- apiGroups: [extensions.istio.io, networking.istio.io, security.istio.io, telemetry.istio.io]
  resources: ["*"]
  verbs: [get, list, watch, update, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: istiod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istiod}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: istiod}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: istiod, namespace: istio-system}
rules:
- apiGroups: ["", coordination.k8s.io]
  resources: [configmaps, leases, events]
  verbs: ["*"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: istiod, namespace: istio-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: istiod}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: istiod}
"#;
