package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath, Dir                                             string
	GoFiles, CgoFiles, Imports, TestImports, XTestImports, Deps []string
}

// under is whether path is the package dir or below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// laws of the house: a package under `in` must not import what `forbidden`
// says. Tests are free to.
var laws = []struct {
	why       string
	in        string
	except    []string
	forbidden func(path string) bool
}{
	{
		why: "modem is pure: same input, same output, on every machine",
		in:  "lightsong/modem",
		forbidden: func(p string) bool {
			return slices.Contains([]string{"time", "context", "log", "os", "net", "sync", "math/rand", "C", "unsafe"}, strings.SplitN(p, "/", 2)[0]) ||
				under(p, "math/rand") || under(p, "log") || under(p, "os") || under(p, "net") || under(p, "sync") ||
				strings.HasPrefix(p, "lightsong/") && !under(p, "lightsong/modem")
		},
	},
	{
		why: "link knows phy's types and no device, modem, host or simulator",
		in:  "lightsong/link",
		forbidden: func(p string) bool {
			return strings.HasPrefix(p, "lightsong/") && p != "lightsong/phy" && !under(p, "lightsong/link") ||
				under(p, "os") || p == "net" || under(p, "syscall")
		},
	},
	{
		why: "phy never imports link, tun or sims",
		in:  "lightsong/phy",
		forbidden: func(p string) bool {
			return under(p, "lightsong/link") || under(p, "lightsong/tun") || under(p, "lightsong/sims")
		},
	},
	{
		why:       "phy itself knows no device",
		in:        "lightsong/phy",
		except:    []string{"lightsong/phy/audio", "lightsong/phy/led"},
		forbidden: func(p string) bool { return strings.HasPrefix(p, "lightsong/") && p != "lightsong/modem" },
	},
	{
		why:       "tun is the host side and knows nothing of the link",
		in:        "lightsong/tun",
		forbidden: func(p string) bool { return strings.HasPrefix(p, "lightsong/") },
	},
	{
		why:       "sims is a medium: it knows no link and no host",
		in:        "lightsong/sims",
		forbidden: func(p string) bool { return under(p, "lightsong/link") || under(p, "lightsong/tun") },
	},
	{
		why:    "only cmd knows cobra, TOML and HTTP, and only cmd and tests import sims",
		in:     "lightsong",
		except: []string{"lightsong/cmd"},
		forbidden: func(p string) bool {
			return under(p, "lightsong/sims") || under(p, "net/http") || under(p, "github.com/spf13") || under(p, "github.com/pelletier")
		},
	},
}

// cgoBinding brings C with it: only cgoFolder may import it.
const cgoBinding = "github.com/gordonklaus/portaudio"

// cgoFolder is the one place where C is linked.
const cgoFolder = "lightsong/phy/audio/portaudio"

// goroutineFree are packages without goroutines, apart from the files named.
var goroutineFree = map[string][]string{
	"lightsong/modem": nil,
	"lightsong/link":  {"run.go"}, // link.Run is the only place with goroutines
}

func TestLaws(t *testing.T) {
	packages := goList(t)
	if sound := slices.IndexFunc(packages, func(p listed) bool { return p.ImportPath == cgoFolder }); sound < 0 || !slices.Contains(packages[sound].Imports, cgoBinding) {
		t.Error("the build tag of sound is not the one that these laws are checked with")
	}
	if len(packages) < 8 {
		t.Fatalf("go list shows only %d packages", len(packages))
	}
	for _, p := range packages {
		for _, law := range laws {
			if !under(p.ImportPath, law.in) || slices.ContainsFunc(law.except, func(e string) bool { return under(p.ImportPath, e) }) {
				continue
			}
			for _, path := range p.Imports {
				// A package of the house may import its own inner rooms.
				if own := law.in == "lightsong" && under(p.ImportPath, path); law.forbidden(path) && !own {
					t.Errorf("%s imports %s: %s", p.ImportPath, path, law.why)
				}
			}
		}
		if len(p.CgoFiles) > 0 && p.ImportPath != cgoFolder {
			t.Errorf("%s uses cgo (%s): only %s may", p.ImportPath, strings.Join(p.CgoFiles, ", "), cgoFolder)
		}
		if slices.Contains(p.Imports, cgoBinding) && p.ImportPath != cgoFolder {
			t.Errorf("%s imports %s: only %s may", p.ImportPath, cgoBinding, cgoFolder)
		}
		for dir, files := range goroutineFree {
			if under(p.ImportPath, dir) {
				noGoroutine(t, p, files)
			}
		}
	}
}

func goList(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "portaudio", "-json", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // it lists, it does not build
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func noGoroutine(t *testing.T, p listed, except []string) {
	t.Helper()
	for _, name := range p.GoFiles {
		if slices.Contains(except, name) {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if stmt, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s starts a goroutine", fset.Position(stmt.Pos()))
			}
			return true
		})
	}
}
