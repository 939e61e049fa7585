{{/*
Admission policies: one file each, which defines `tradingbot-operator.policy.<part>`, the spec of its ValidatingAdmissionPolicy.
Each is bound once, with Deny, under its own name. Rules of this folder:
- A kill gets through: `.?` before everything that may be missing, and what is costly or could fail on an old, invalid object
  stands behind a comparison that is true for every patch that leaves that part alone.
- Nothing is left to the API server's defaults that the operator compares: see `tradingbot-operator.policyDigests`.
*/}}
{{- define "tradingbot-operator.policyParts" -}}
bots records workloads
{{- end }}

{{/* A DNS name without a namespace of its own: no two releases of one cluster share it. Takes a dict of root and part. */}}
{{- define "tradingbot-operator.policyName" -}}
{{- printf "%s.%s.%s" .part (include "tradingbot-operator.fullname" .root) .root.Release.Namespace }}
{{- end }}

{{- define "tradingbot-operator.operatorUser" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "tradingbot-operator.serviceAccountName" .) }}
{{- end }}

{{/* The requester's name; anonymous requests may have none. */}}
{{- define "tradingbot-operator.policyUser" -}}
- name: user
  expression: request.?userInfo.?username.orValue('')
{{- end }}

{{/* Where a policy holds: in the namespaces that are served. */}}
{{- define "tradingbot-operator.policyMatch" -}}
matchPolicy: Equivalent
{{- if .Values.watch.namespaces }}
namespaceSelector:
  matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: In
    values: {{ toJson .Values.watch.namespaces }}
{{- else }}
namespaceSelector: {}
{{- end }}
objectSelector: {}
{{- end }}

{{- define "tradingbot-operator.policyBinding" -}}
policyName: {{ include "tradingbot-operator.policyName" . }}
validationActions: [Deny]
matchResources: {{- include "tradingbot-operator.policyMatch" .root | nindent 2 }}
{{- end }}

{{- define "tradingbot-operator.policyObjects" -}}
{{- $name := include "tradingbot-operator.policyName" . -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels: {{- include "tradingbot-operator.labels" .root | nindent 4 }}
spec: {{- include (print "tradingbot-operator.policy." .part) .root | nindent 2 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels: {{- include "tradingbot-operator.labels" .root | nindent 4 }}
spec: {{- include "tradingbot-operator.policyBinding" . | nindent 2 }}
{{- end }}

{{/*
What the operator expects before it grants a live permit: {"bots.<release>.<namespace>": "<SHA-256>"}, of what policy and binding
decide, without messages: the same JSON as tradingbot_operator/plan/guard.py makes of what it finds on the API server.
*/}}
{{- define "tradingbot-operator.policyDigests" -}}
{{- $digests := dict }}
{{- range $part := splitList " " (include "tradingbot-operator.policyParts" .) }}
{{- $given := dict "root" $ "part" $part }}
{{- $spec := include (print "tradingbot-operator.policy." $part) $ | fromYaml }}
{{- $validations := list }}
{{- range $spec.validations }}
{{- $validations = append $validations .expression }}
{{- end }}
{{- $policy := dict "failurePolicy" $spec.failurePolicy "match" $spec.matchConstraints "conditions" list "variables" $spec.variables "validations" $validations }}
{{- $binding := include "tradingbot-operator.policyBinding" $given | fromYaml }}
{{- $decides := dict "policy" $policy "binding" $binding }}
{{- $_ := set $digests (include "tradingbot-operator.policyName" $given) (toRawJson $decides | sha256sum) }}
{{- end }}
{{- toJson $digests }}
{{- end }}
