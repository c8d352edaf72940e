// Command mutation removes the checks of the security code one by one, runs the
// tests of their packages, and lists which test notices. One that none notices is
// an error, unless accepted.go says why it is none.
//
//	go run ./internal/mutation                      all of them, about an hour
//	go run ./internal/mutation -only decide.go      those whose place contains this
//	go run ./internal/mutation -write               writes CHECKS.md, too
//
// A check is an if, or a case of a switch without a tag, that ends in a return, in
// one of the files that targets lists. It is removed by making its condition false.
// No file is changed: the tests are built with an overlay.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// targets are the files whose checks are removed, and the packages whose tests
// are to notice.
var targets = []struct {
	files    []string
	packages []string
}{
	{[]string{
		"middleware/verify.go", "middleware/header.go", "middleware/sources.go", "middleware/bearer.go", "middleware/claims.go",
		"middleware/guard.go", "middleware/revocation.go", "middleware/userkey.go", "middleware/resolve.go", "middleware/required.go",
		"middleware/jwk.go", "middleware/denylist.go", "middleware/denials.go",
	}, []string{"./middleware"}},
	{[]string{
		"issuer/binding.go", "issuer/dpop.go", "issuer/request.go", "issuer/decide.go", "issuer/refresh.go", "issuer/masterkey.go", "issuer/token.go", "issuer/code.go", "issuer/oauth.go",
		"issuer/tokenendpoint.go", "issuer/introspection.go", "issuer/revocation.go", "issuer/revoke.go", "issuer/login.go", "issuer/browser.go", "issuer/memory.go",
	}, []string{"./issuer"}},
	{[]string{"internal/jws/jws.go"}, []string{"./internal/jws", "./middleware"}},
	{[]string{"internal/jwa/jwa.go", "internal/jwa/jwk.go", "internal/jwa/signer.go"}, []string{"./internal/jwa", "./internal/dpop", "./issuer", "./middleware"}},
	{[]string{"internal/dpop/proof.go", "internal/dpop/checker.go", "internal/dpop/nonce.go", "internal/dpop/replays.go", "internal/dpop/url.go"}, []string{"./internal/dpop"}},
	{[]string{"refresher/origin.go", "refresher/receipt.go", "refresher/verify.go"}, []string{"./refresher"}},
}

// A check is one that can be removed.
type check struct {
	file     string
	function string
	text     string // of the condition
	line     int
	source   []byte // of the file without the check
	packages []string

	caught string // by this test; empty where none noticed
}

// place names the check, and stays as it is when lines move.
func (c *check) place() string { return c.file + " " + c.function + ": " + c.text }

func main() {
	only := flag.String("only", "", "the checks whose place contains this")
	write := flag.Bool("write", false, "write CHECKS.md")
	workers := flag.Int("workers", 2, "how many tests run at once")
	flag.Parse()
	root, err := repository()
	if err == nil {
		err = run(root, *only, *write, *workers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

func repository() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tokenloop/tokenloop").Output()
	return strings.TrimSpace(string(out)), err
}

func run(root, only string, write bool, workers int) error {
	var checks []*check
	for _, target := range targets {
		for _, file := range target.files {
			found, err := checksOf(root, file)
			if err != nil {
				return err
			}
			for _, c := range found {
				c.packages = target.packages
				if strings.Contains(c.place(), only) {
					checks = append(checks, c)
				}
			}
		}
	}
	work := make(chan *check)
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range workers {
		all.Go(func() {
			for c := range work {
				err := c.try(root)
				mu.Lock()
				switch {
				case err != nil:
					failed = fmt.Errorf("%s:%d: %s: %w", c.file, c.line, c.place(), err)
				case c.caught != "":
					fmt.Printf("caught    %s:%d %s: %s  by %s\n", c.file, c.line, c.function, c.text, c.caught)
				case accepted[c.place()] != "":
					fmt.Printf("accepted  %s:%d %s: %s\n", c.file, c.line, c.function, c.text)
				default:
					fmt.Printf("SURVIVED  %s:%d %s: %s\n", c.file, c.line, c.function, c.text)
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range checks {
		work <- c
	}
	close(work)
	all.Wait()
	survived := 0
	for _, c := range checks {
		if c.caught == "" && accepted[c.place()] == "" {
			survived++
		}
	}
	fmt.Printf("%d checks, of which %d can be removed without a test that notices\n", len(checks), survived)
	switch {
	case failed != nil:
		return failed
	case survived > 0:
		return fmt.Errorf("%d survived", survived)
	case write && only == "":
		return os.WriteFile(filepath.Join(root, "internal", "mutation", "CHECKS.md"), list(checks), 0o644)
	}
	return nil
}

// checksOf returns the checks in a file, each with the file without it.
func checksOf(root, file string) ([]*check, error) {
	path := filepath.Join(root, file)
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []*check
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		seen := map[string]int{}
		remove := func(conditions []ast.Expr) {
			from, to := files.Position(conditions[0].Pos()), files.Position(conditions[len(conditions)-1].End())
			var text bytes.Buffer
			for i, c := range conditions {
				if i > 0 {
					text.WriteString(", ")
				}
				_ = printer.Fprint(&text, files, c)
			}
			one := strings.Join(strings.Fields(text.String()), " ")
			if seen[one]++; seen[one] > 1 {
				one += fmt.Sprintf(" (%d)", seen[one])
			}
			var without []string
			for _, c := range conditions {
				without = append(without, fmt.Sprintf("false && (%s)", source[files.Position(c.Pos()).Offset:files.Position(c.End()).Offset]))
			}
			found = append(found, &check{
				file: file, function: f.Name.Name, text: one, line: from.Line,
				source: slices.Concat(source[:from.Offset], []byte(strings.Join(without, ", ")), source[to.Offset:]),
			})
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt:
				if returns(n.Body.List) {
					remove([]ast.Expr{n.Cond})
				}
			case *ast.SwitchStmt:
				if n.Tag != nil {
					return true
				}
				for _, s := range n.Body.List {
					if c := s.(*ast.CaseClause); len(c.List) > 0 && returns(c.Body) {
						remove(c.List)
					}
				}
			}
			return true
		})
	}
	return found, nil
}

func returns(body []ast.Stmt) bool {
	if len(body) == 0 {
		return false
	}
	_, ok := body[len(body)-1].(*ast.ReturnStmt)
	return ok
}

var failing = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try runs the tests without the check.
func (c *check) try(root string) error {
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	changed := filepath.Join(dir, filepath.Base(c.file))
	if err := os.WriteFile(changed, c.source, 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, c.file): changed}})
	if err != nil {
		return err
	}
	plan := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(plan, overlay, 0o600); err != nil {
		return err
	}
	for _, p := range c.packages {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		cmd := exec.CommandContext(ctx, "go", "test", "-overlay", plan, "-vet=off", "-count=1", "-failfast", "-timeout=100s", p)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		cancel()
		switch {
		case err == nil:
			continue
		case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
			return fmt.Errorf("it does not build:\n%s", out)
		}
		c.caught = "a panic"
		if m := failing.FindSubmatch(out); m != nil {
			c.caught = string(m[1])
		} else if bytes.Contains(out, []byte("test timed out")) {
			c.caught = "a test that does not end"
		}
		return nil
	}
	return nil
}

// list returns the list of checks in Markdown.
func list(checks []*check) []byte {
	var b bytes.Buffer
	b.WriteString("# The checks, and the tests that notice when one is removed\n\nWritten by `go run ./internal/mutation -write`.\n")
	file := ""
	for _, c := range checks {
		if c.file != file {
			file = c.file
			fmt.Fprintf(&b, "\n## %s\n\n| Function | Check | Noticed by |\n|---|---|---|\n", file)
		}
		by := c.caught
		if by == "" {
			by = "accepted: " + accepted[c.place()]
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", c.function, strings.ReplaceAll(c.text, "|", "\\|"), by)
	}
	return b.Bytes()
}
