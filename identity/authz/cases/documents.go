package cases

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
)

// resourceKind is the kind of a case's resource document: the form does not say, the
// action does. The actions on a role that its trust policy decides are those of STS.
func resourceKind(action string) policy.Kind {
	service, _, _ := strings.Cut(strings.ToLower(action), ":")
	switch service {
	case "sts":
		return policy.Trust
	case "kms":
		return policy.Key
	}
	return policy.Resource
}

func parse(kind policy.Kind, name string, text json.RawMessage) (*policy.Document, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	d, err := policy.Parse(kind, text)
	if err != nil {
		return nil, fmt.Errorf("%s policy: %w", name, err)
	}
	return d.Named(name), nil
}

func parseAll(kind policy.Kind, name string, texts []json.RawMessage) ([]*policy.Document, error) {
	var all []*policy.Document
	for i, text := range texts {
		d, err := parse(kind, fmt.Sprintf("%s[%d]", name, i), text)
		if err != nil {
			return nil, err
		}
		if d != nil {
			all = append(all, d)
		}
	}
	return all, nil
}

func parseLevels(kind policy.Kind, name string, levels [][]json.RawMessage) ([][]*policy.Document, error) {
	var all [][]*policy.Document
	for i, level := range levels {
		docs, err := parseAll(kind, fmt.Sprintf("%s[%d]", name, i), level)
		if err != nil {
			return nil, err
		}
		all = append(all, docs)
	}
	return all, nil
}
