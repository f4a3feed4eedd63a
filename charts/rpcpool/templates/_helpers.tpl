{{- define "rpcpool.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "rpcpool.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* rpcpool.resource (list . SUFFIX) is FULLNAME-SUFFIX, of at most 63 characters: the suffix stays whole. */ -}}
{{- define "rpcpool.resource" -}}
{{- $suffix := printf "-%s" (index . 1) }}
{{- include "rpcpool.fullname" (index . 0) | trunc (int (sub 63 (len $suffix))) | trimSuffix "-" }}{{ $suffix }}
{{- end }}

{{- define "rpcpool.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rpcpool.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* rpcpool.baseLabels is rpcpool.labels without the component. */ -}}
{{- define "rpcpool.baseLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "rpcpool.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/part-of: rpcpool
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "rpcpool.labels" -}}
{{ include "rpcpool.baseLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "rpcpool.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "rpcpool.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "rpcpool.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "rpcpool.metricsPort" -}}
{{- ternary 8443 8080 .Values.metrics.secure }}
{{- end }}

{{- /* rpcpool.subject is the operator, in a binding. */ -}}
{{- define "rpcpool.subject" -}}
- kind: ServiceAccount
  name: {{ include "rpcpool.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{- /* rpcpool.testNamespace is one whose pools are served: the release's, if it is. */ -}}
{{- define "rpcpool.testNamespace" -}}
{{- if or (empty .Values.watchNamespaces) (has .Release.Namespace .Values.watchNamespaces) }}
{{- .Release.Namespace }}
{{- else }}
{{- first .Values.watchNamespaces }}
{{- end }}
{{- end }}

{{- /* rpcpool.testPool is helm test's pool; a pool's name has at most 58 characters. */ -}}
{{- define "rpcpool.testPool" -}}
{{- include "rpcpool.fullname" . | trunc 53 | trimSuffix "-" }}-test
{{- end }}
