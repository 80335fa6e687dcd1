package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/internal/apigen/shape"
)

// lines returns the words of each line of a text file, without comments.
func lines(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			all = append(all, words)
		}
	}
	return all
}

// readOperations returns service -> operation names, both in file order.
func readOperations(text string) (services []string, ops map[string][]string, err error) {
	ops = map[string][]string{}
	for _, w := range lines(text) {
		if len(w) != 2 {
			return nil, nil, fmt.Errorf("operations.txt: %q is not a service and an operation", w)
		}
		if slices.Contains(ops[w[0]], w[1]) {
			return nil, nil, fmt.Errorf("operations.txt: %s %s is listed twice", w[0], w[1])
		}
		if ops[w[0]] == nil {
			services = append(services, w[0])
		}
		ops[w[0]] = append(ops[w[0]], w[1])
	}
	return services, ops, nil
}

// overrides are the facts that models don't hold (section 2.4).
type overrides struct {
	presence, always, own, escape, silent, strict, sensitive, used map[string]bool
	pattern                                                        map[string]string // "iam shape" -> Go expression
	access                                                         map[string]bool   // "sts AssumeRole" -> read-only
}

func readOverrides(text string) (*overrides, error) {
	o := &overrides{
		presence: map[string]bool{}, always: map[string]bool{}, own: map[string]bool{}, escape: map[string]bool{}, silent: map[string]bool{}, strict: map[string]bool{}, sensitive: map[string]bool{},
		pattern: map[string]string{}, access: map[string]bool{}, used: map[string]bool{},
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		w := strings.Fields(rest)
		switch {
		case kind == "":
		case (kind == "presence" || kind == "always" || kind == "own") && len(w) == 3:
			set := map[string]map[string]bool{"presence": o.presence, "always": o.always, "own": o.own}[kind]
			set[strings.Join(w, " ")] = true
		case kind == "escape" && len(w) == 2:
			o.escape[rest] = true
		case kind == "silent" && len(w) == 2:
			o.silent[rest] = true
		case kind == "strict" && len(w) == 2:
			o.strict[rest] = true
		case kind == "sensitive" && len(w) == 2:
			o.sensitive[rest] = true
		case (kind == "read" || kind == "write") && len(w) == 2:
			o.access[rest] = kind == "read"
		case kind == "pattern" && len(w) >= 3:
			// The expression may hold spaces.
			_, expr, _ := strings.Cut(rest, w[1])
			o.pattern[w[0]+" "+w[1]] = strings.TrimSpace(expr)
		default:
			return nil, fmt.Errorf("overrides.txt: cannot read %q", line)
		}
	}
	return o, nil
}

// has looks a fact up; "*" stands for every structure.
func (o *overrides) has(set map[string]bool, kind, service, structure, member string) bool {
	for _, key := range []string{service + " " + structure + " " + member, service + " * " + member, service + " " + structure + " *"} {
		if set[key] {
			o.used[kind+" "+key] = true
			return true
		}
	}
	return false
}

// fact looks a fact up and notes that it was.
func (o *overrides) fact(set map[string]bool, kind, key string) bool {
	if set[key] {
		o.used[kind+" "+key] = true
	}
	return set[key]
}

// Trim cuts the models of the listed operations out of the full models.
func Trim(api, full string) error {
	text, err := os.ReadFile(filepath.Join(api, "operations.txt"))
	if err != nil {
		return err
	}
	services, ops, err := readOperations(string(text))
	if err != nil {
		return err
	}
	for _, service := range services {
		text, err := os.ReadFile(filepath.Join(full, service+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		cut, err := trim(text, ops[service])
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		if err := os.WriteFile(filepath.Join(api, "models", service+".json"), cut, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// trim keeps the full model's layout: an operation or a shape a line.
func trim(text []byte, operations []string) ([]byte, error) {
	m, err := shape.Parse(text)
	if err != nil {
		return nil, err
	}
	for _, name := range operations {
		if _, ok := m.Operations.ByKey[name]; !ok {
			return nil, fmt.Errorf("the model has no operation %s", name)
		}
	}
	var top struct{ Metadata json.RawMessage }
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, err
	}
	known := slices.Sorted(slices.Values(m.Operations.Names))
	names, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	meta := bytes.TrimSuffix(bytes.TrimSpace(top.Metadata), []byte("}"))
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\"metadata\":%s, \"operationNames\": %s},\n\"operations\":{\n", meta, names)
	first := true
	entry := func(name string, raw []byte) {
		if !first {
			b.WriteString(",\n")
		}
		first = false
		b.WriteString(strconv.Quote(name) + ":")
		b.Write(raw)
	}
	for _, name := range m.Operations.Names {
		if slices.Contains(operations, name) {
			entry(name, m.Operations.Raw[name])
		}
	}
	b.WriteString("\n},\n\"shapes\":{\n")
	first = true
	reach := m.Reach(operations)
	for _, name := range m.Shapes.Names {
		if reach[name] {
			entry(name, m.Shapes.Raw[name])
		}
	}
	b.WriteString("\n}\n}\n")
	return b.Bytes(), nil
}
