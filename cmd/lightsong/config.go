package main

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// readTOML reads path into config, a pointer to a struct that holds the
// defaults. An unknown key is an error that names file, line and the nearest
// known key.
func readTOML(path string, config any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	dec := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields()
	err = dec.Decode(config)
	if missing := new(toml.StrictMissingError); errors.As(err, &missing) && len(missing.Errors) > 0 {
		unknown := missing.Errors[0]
		line, _ := unknown.Position()
		key := unknown.Key()
		return fmt.Errorf("%s:%d: unknown key %q%s", path, line, strings.Join(key, "."), suggestion(reflect.TypeOf(config), key))
	}
	if wrong := new(toml.DecodeError); errors.As(err, &wrong) {
		line, column := wrong.Position()
		what := strings.TrimPrefix(wrong.Error(), "toml: ")
		if i, j := strings.Index(what, " into struct field "), strings.LastIndex(what, " of type "); 0 <= i && i < j {
			what = what[:i] + " into a value" + what[j:] // of what Go declares nobody wants to know
		}
		if key := wrong.Key(); len(key) > 0 {
			what = strings.Join(key, ".") + ": " + what
		}
		return fmt.Errorf("%s:%d:%d: %s", path, line, column, what)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// suggestion names the known key nearest to the last part of key, in the table
// where it stands.
func suggestion(t reflect.Type, key []string) string {
	for i, part := range key {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() == reflect.Map { // its keys are free: stations.NAME
			t = t.Elem()
			continue
		}
		if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			return ""
		}
		known := keysOf(t)
		field, ok := known[part]
		if ok && i < len(key)-1 {
			t = field
			continue
		}
		names := make([]string, 0, len(known))
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		far := func(name string) int {
			if len(part) > 2 && strings.HasPrefix(name, part) {
				return 1 // rt60 for rt60_s
			}
			return distance(name, part)
		}
		best := slices.MinFunc(names, func(a, b string) int { return far(a) - far(b) })
		if far(best) <= max(2, len(part)/2) {
			return fmt.Sprintf("; did you mean %q?", strings.Join(append(key[:i:i], best), "."))
		}
		return fmt.Sprintf("; known here are %s", strings.Join(names, ", "))
	}
	return ""
}

// keysOf are the TOML keys of a struct and the types behind them.
func keysOf(t reflect.Type) map[string]reflect.Type {
	keys := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case f.Anonymous && name == "":
			for k, v := range keysOf(f.Type) {
				keys[k] = v
			}
		case f.IsExported() && name != "-":
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			keys[name] = f.Type
		}
	}
	return keys
}

// distance is Levenshtein's: insertions, deletions and substitutions.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
