// Command tests reads `go test -json` from standard input, prints each test with
// its result, and ends with a count. It fails if a test failed, if none ran, or
// if one was skipped that the list of expected skips (the first argument: a file
// with `package test reason` on each line) does not name.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

type key struct{ pkg, test string }

func main() {
	os.Exit(run())
}

func run() int {
	expected := map[key]bool{}
	if len(os.Args) > 1 {
		text, err := os.ReadFile(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "expected skips:", err)
			return 1
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) >= 3 && !strings.HasPrefix(line, "#") {
				expected[key{f[0], f[1]}] = true
			}
		}
	}

	output := map[key]*strings.Builder{}
	var passed, failed, skipped, unexpected int
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var ev event
		if err := json.Unmarshal(in.Bytes(), &ev); err != nil {
			fmt.Println(in.Text()) // what the tool chain says beside JSON
			continue
		}
		k := key{ev.Package + ev.ImportPath, ev.Test}
		switch ev.Action {
		case "output", "build-output":
			if output[k] == nil {
				output[k] = new(strings.Builder)
			}
			output[k].WriteString(ev.Output)
			continue
		case "pass", "fail", "skip":
		default:
			continue
		}
		text := ""
		if b := output[k]; b != nil {
			text = b.String()
		}
		delete(output, k)
		if ev.Test == "" {
			if ev.Action == "fail" {
				failed++
				fmt.Printf("FAIL  %s (%.1f s)\n%s", ev.Package, ev.Elapsed, text)
				for other, b := range output {
					if strings.HasPrefix(other.pkg, ev.Package) {
						fmt.Print(b.String())
					}
				}
			}
			continue
		}
		switch ev.Action {
		case "pass":
			passed++
			fmt.Printf("ok    %s %s (%.1f s)\n", ev.Package, ev.Test, ev.Elapsed)
		case "fail":
			failed++
			fmt.Printf("FAIL  %s %s (%.1f s)\n%s", ev.Package, ev.Test, ev.Elapsed, text)
		case "skip":
			skipped++
			fmt.Printf("skip  %s %s\n%s", ev.Package, ev.Test, text)
			if !expected[k] {
				unexpected++
				fmt.Printf("FAIL  this skip is not in the list of expected skips\n")
			}
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "reading the tests' output:", err)
		return 1
	}
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", passed, failed+unexpected, skipped)
	if failed+unexpected > 0 || passed == 0 {
		return 1
	}
	return 0
}
