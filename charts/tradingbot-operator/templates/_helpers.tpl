{{- define "tradingbot-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tradingbot-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "tradingbot-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Names of objects without a namespace carry the release's namespace: two releases of one name may live in one cluster. */}}
{{- define "tradingbot-operator.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "tradingbot-operator.fullname" .) }}
{{- end }}

{{- define "tradingbot-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tradingbot-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tradingbot-operator.labels" -}}
{{ include "tradingbot-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tradingbot
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tradingbot-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tradingbot-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* A digest wins over a tag. Takes a dict of image and chart. */}}
{{- define "tradingbot-operator.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{/* No namespace has a dot in its name, so the two parts stay apart. */}}
{{- define "tradingbot-operator.installation" -}}
{{- default (printf "%s.%s" .Release.Namespace .Release.Name) .Values.installation }}
{{- end }}

{{/* As the operator reads them: quantities are strings (`cpu: 1` in values is a number). */}}
{{- define "tradingbot-operator.traderResources" -}}
{{- $resources := dict }}
{{- range $part, $quantities := .Values.trader.resources }}
{{- $strings := dict }}
{{- range $name, $quantity := $quantities }}
{{- $_ := set $strings $name (toString $quantity) }}
{{- end }}
{{- $_ := set $resources $part $strings }}
{{- end }}
{{- toJson $resources }}
{{- end }}

{{/* {"binance": {"Sandbox": {"rest": ..., "stream": ..., "account": ...}}}: networks as a TradingBot names them. */}}
{{- define "tradingbot-operator.exchangeAddresses" -}}
{{- $exchanges := dict }}
{{- range $id, $networks := .Values.exchanges }}
{{- $addresses := dict }}
{{- range $network, $venue := $networks }}
{{- $urls := dict "rest" $venue.restUrl "stream" $venue.streamUrl }}
{{- with $venue.accountUrl }}
{{- $_ := set $urls "account" . }}
{{- end }}
{{- $_ := set $addresses (title $network) $urls }}
{{- end }}
{{- $_ := set $exchanges $id $addresses }}
{{- end }}
{{- toJson $exchanges }}
{{- end }}

{{/* What the operator's pods reach, and those of drills: the API server. */}}
{{- define "tradingbot-operator.apiServerEgress" -}}
# Only where the API server is known by a name; by address it needs no resolver.
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
# No selector finds the API server: by address where it is known, else by its ports.
- ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.apiServer.cidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}

{{/* A CronJob's name has at most 52 characters: its Jobs add a number. */}}
{{- define "tradingbot-operator.drillName" -}}
{{- printf "%s-drill" (include "tradingbot-operator.fullname" . | trunc 46 | trimSuffix "-") }}
{{- end }}

{{/*
A policy without the API server's port lets pods start and never reach it. Helm sees the port when it installs, not when it
renders; who may not make ClusterRoles may not be able to read it either.
*/}}
{{- define "tradingbot-operator.refuseUnreachableApiServer" -}}
{{- if .Values.rbac.create }}
{{- $seen := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" }}
{{- range $value, $policy := dict "networkPolicy" .Values.networkPolicy "trader.networkPolicy" .Values.trader.networkPolicy }}
{{- $open := list }}
{{- range $policy.apiServer.ports }}{{ $open = append $open (int .) }}{{ end }}
{{- range ($seen).ports }}
{{- if and $policy.enabled (not (has (int .port) $open)) }}
{{- fail (printf "the API server of this cluster listens on port %d, which %s.apiServer.ports does not name: pods could not reach it. Add: --set '%s.apiServer.ports={443,%d}'" (int .port) $value $value (int .port)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
