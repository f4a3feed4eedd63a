package sriov

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Key is the key of a ConfigMap that the plugin's own manifests mount as its file.
const Key = "config.json"

// ConfigMap is an object with the plugin's file. The plugin reads it when it starts.
func (c *Config) ConfigMap(namespace, name string) (*corev1.ConfigMap, error) {
	text, err := c.JSON()
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{Key: text},
	}, nil
}

// Read reads a configuration, in JSON or YAML: the plugin's file, or a ConfigMap with it.
func Read(text []byte) (*Config, error) {
	body, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("neither JSON nor YAML: %w", err)
	}
	var object struct {
		Kind string            `json:"kind"`
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(body, &object); err != nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	if object.Kind == "" {
		return Parse(body)
	}
	if object.Kind != "ConfigMap" {
		return nil, fmt.Errorf("a %.40s: want a ConfigMap", object.Kind)
	}
	file, ok := object.Data[Key]
	if !ok {
		return nil, errors.New("a ConfigMap without " + Key)
	}
	return Parse([]byte(file))
}
