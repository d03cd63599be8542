{{/* Labels that all pods of the pool have. */}}
{{- define "pool.selector" -}}
app.kubernetes.io/instance: {{ .Values.name | quote }}
app.kubernetes.io/name: buildkitd
{{- end }}

{{/* Labels that the pods of a group have. Takes (list $ ARCHITECTURE). */}}
{{- define "group.selector" -}}
{{ include "pool.selector" (first .) }}
archway.dev/architecture: {{ last . }}
{{- end }}

{{/* Metadata of an object of a group. Takes (list $ ARCHITECTURE NAME). */}}
{{- define "group.metadata" -}}
{{- $ := first . -}}
name: {{ index . 2 }}
namespace: {{ $.Release.Namespace | quote }}
labels:
  {{- include "group.selector" (list $ (index . 1)) | nindent 2 }}
  {{- with $.Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The architectures that have a group, as JSON: {"list": [...]}. */}}
{{- define "pool.architectures" -}}
{{- $wanted := dict -}}
{{- range .Values.platforms -}}
  {{- $architecture := index (splitList "/" .) 1 -}}
  {{- $_ := set $wanted (eq $architecture "386" | ternary "amd64" $architecture) true -}}
{{- end -}}
{{- /* Daemons of arm64 build for arm, too. */ -}}
{{- if hasKey $wanted "arm64" }}{{ $_ := unset $wanted "arm" }}{{ end -}}
{{- range $architecture, $_ := .Values.architectures -}}
  {{- if not (hasKey $wanted $architecture) -}}
    {{- fail (printf "architectures: the pool has no daemons of `%s`; it has %s" $architecture (keys $wanted | sortAlpha | join ", ")) -}}
  {{- end -}}
{{- end -}}
{{- dict "list" (keys $wanted | sortAlpha) | toJson -}}
{{- end }}

{{/* A quantity of resources as text, whichever way it was written. */}}
{{- define "pool.quantities" -}}
{{- range $resource, $quantity := . }}
{{ $resource }}: {{ kindIs "string" $quantity | ternary $quantity ($quantity | int64) | quote }}
{{- end }}
{{- end }}

{{/* Who has one of the namespaces. */}}
{{- define "pool.namespaces" -}}
matchExpressions:
- key: kubernetes.io/metadata.name
  operator: In
  values:
    {{- toYaml . | nindent 4 }}
{{- end }}
