// Command apigen writes the packages api/<service> from the trimmed models in
// api/models (wire-protocols section 2). `go generate ./api` runs it.
//
//	apigen [-trim DIR] API
//
// API is the folder that holds models, operations.txt and overrides.txt. With
// -trim the models are first cut anew out of the full models in DIR: adding
// an operation is one line in operations.txt, a trim, and a generate. A
// service whose full model isn't in DIR (our own) keeps the model it has.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	trim := flag.String("trim", "", "cut the models anew out of the full ones in `DIR`")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *trim); err != nil {
		fmt.Fprintln(os.Stderr, "apigen:", err)
		os.Exit(1)
	}
}

func run(api, full string) error {
	if full != "" {
		if err := Trim(api, full); err != nil {
			return err
		}
	}
	files, err := Generate(os.DirFS(api))
	if err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(api, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
