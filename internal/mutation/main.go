// Command mutation removes the checks of the security code one by one, runs the
// tests of their packages, and lists which test notices. One that none notices is
// an error, unless accepted.go says why it is none.
//
//	go run ./internal/mutation                      all of them
//	go run ./internal/mutation -only decide.go      those whose place matches this regular expression
//	go run ./internal/mutation -write               writes what it has found to CHECKS.md, too
//
// A check is an if, or a case of a switch without a tag, that ends in a return or
// notes a mistake, in one of the files that targets lists. It is removed by making
// its condition false.
//
// No file is changed: the tests are built with an overlay, once, in which the
// environment says which check is removed. Every test first runs alone, with nothing
// removed, and leaves a note of the checks whose condition was true: only those tests
// can notice, and only they run without the check.
//
// What came of each check is told on standard error as soon as it is known, and in
// the order of the files at the end.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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
		"middleware/jwk.go", "middleware/denylist.go", "middleware/denials.go", "middleware/confirmation.go", "middleware/dpop.go", "middleware/certificate.go",
		"middleware/status.go", "middleware/statuslist.go", "middleware/jwks.go", "middleware/fetch.go", "middleware/keys.go", "middleware/cache.go",
		"middleware/config.go", "middleware/middleware.go", "middleware/discover.go", "middleware/localjwks.go", "middleware/resource.go", "middleware/preflight.go",
		"middleware/context.go", "middleware/ready.go", "middleware/refusal.go", "middleware/observer.go", "middleware/explain.go",
	}, []string{"./middleware"}},
	{[]string{
		"issuer/binding.go", "issuer/dpop.go", "issuer/request.go", "issuer/decide.go", "issuer/refresh.go", "issuer/masterkey.go", "issuer/token.go", "issuer/code.go", "issuer/oauth.go",
		"issuer/tokenendpoint.go", "issuer/introspection.go", "issuer/revocation.go", "issuer/revoke.go", "issuer/login.go", "issuer/browser.go", "issuer/memory.go",
		"issuer/statuslist.go", "issuer/statuspublisher.go", "issuer/client.go", "issuer/limit.go", "issuer/memorylimiter.go",
		"issuer/clientaddress.go", "issuer/claims.go", "issuer/sessions.go", "issuer/signup.go", "issuer/config.go", "issuer/keyring.go", "issuer/key.go",
		"issuer/keyfile.go", "issuer/jwk.go", "issuer/keyschedule.go", "issuer/minter.go", "issuer/reused.go", "issuer/tokens.go", "issuer/routes.go",
		"issuer/eventqueue.go", "issuer/issuer.go", "issuer/metadata.go",
	}, []string{"./issuer"}},
	{[]string{"internal/jws/jws.go", "internal/jws/flat.go"}, []string{"./internal/jws", "./middleware"}},
	{[]string{"internal/jwa/jwa.go", "internal/jwa/jwk.go", "internal/jwa/signer.go"}, []string{"./internal/jwa", "./internal/dpop", "./issuer", "./middleware"}},
	{[]string{"internal/dpop/proof.go", "internal/dpop/header.go", "internal/dpop/checker.go", "internal/dpop/nonce.go", "internal/dpop/replays.go", "internal/dpop/url.go"}, []string{"./internal/dpop"}},
	{[]string{"errors/error.go", "errors/reason.go", "errors/read.go", "errors/challenge.go", "errors/respond.go"}, []string{"./errors"}},
	{[]string{
		"refresher/origin.go", "refresher/receipt.go", "refresher/verify.go", "refresher/prover.go", "refresher/dpopkey.go", "refresher/stepup.go", "refresher/policy.go", "refresher/identity.go",
		"refresher/token.go", "refresher/transport.go", "refresher/request.go", "refresher/oauth.go", "refresher/flight.go", "refresher/endpoint.go",
		"refresher/config.go", "refresher/state.go", "refresher/session.go", "refresher/store.go", "refresher/unsaved.go", "refresher/tokens.go",
		"refresher/filestore.go", "refresher/filestore_unix.go", "refresher/filelogouts.go", "refresher/splitstore.go", "refresher/logout.go", "refresher/logoutqueue.go",
		"refresher/claims.go", "refresher/clock.go", "refresher/names.go", "refresher/fetcher.go", "refresher/source.go", "refresher/refusal.go",
	}, []string{"./refresher"}},
}

// A check is one that can be removed.
type check struct {
	file     string
	function string
	text     string // of the condition
	line     int
	spans    [][2]int // of the conditions, in bytes

	caught string // by this test; empty where none noticed
}

// place names the check, and stays as it is when lines move.
func (c *check) place() string { return c.file + " " + c.function + ": " + c.text }

// outcome says in a line what came of removing the check.
func (c *check) outcome() string {
	place := fmt.Sprintf("%s:%d %s: %s", c.file, c.line, c.function, c.text)
	switch reason := accepted[c.place()]; {
	case c.caught != "" && reason != "":
		return "STALE     " + place + "  by " + c.caught + " although accepted.go says that none can"
	case c.caught != "":
		return "caught    " + place + "  by " + c.caught
	case reason != "":
		return "accepted  " + place
	default:
		return "SURVIVED  " + place
	}
}

func main() {
	only := flag.String("only", "", "the checks whose place matches this regular expression")
	write := flag.Bool("write", false, "write CHECKS.md")
	workers := flag.Int("workers", 2, "how many tests run at once")
	flag.Parse()
	root, err := repository()
	if err == nil {
		var some *regexp.Regexp
		if some, err = regexp.Compile(*only); err == nil {
			err = run(root, some, *write, *workers)
		}
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

func run(root string, only *regexp.Regexp, write bool, workers int) error {
	var all []*check
	for _, target := range targets {
		var checks []*check
		for _, file := range target.files {
			found, err := checksOf(root, file)
			if err != nil {
				return err
			}
			for _, c := range found {
				if only.MatchString(c.place()) {
					checks = append(checks, c)
				}
			}
		}
		for i, p := range target.packages {
			if len(checks) == 0 {
				break
			}
			last := i == len(target.packages)-1
			err := try(root, p, checks, workers, func(c *check) {
				if c.caught != "" || last {
					fmt.Fprintln(os.Stderr, c.outcome())
				}
			})
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
		all = append(all, checks...)
	}
	survived, stale := 0, 0
	for _, c := range all {
		fmt.Println(c.outcome())
		switch reason := accepted[c.place()]; {
		case c.caught != "" && reason != "":
			stale++
		case c.caught == "" && reason == "":
			survived++
		}
	}
	for place := range accepted {
		if only.MatchString(place) && !slices.ContainsFunc(all, func(c *check) bool { return c.place() == place }) {
			fmt.Println("STALE     " + place + "  is in accepted.go, and there is no such check")
			stale++
		}
	}
	fmt.Printf("%d checks, of which %d can be removed without a test that notices\n", len(all), survived)
	switch {
	case survived > 0:
		return fmt.Errorf("%d survived", survived)
	case stale > 0:
		return fmt.Errorf("%d entries of accepted.go are stale", stale)
	case write:
		return rewrite(filepath.Join(root, "internal", "mutation", "CHECKS.md"), root, all)
	}
	return nil
}

// rewrite writes the list of all checks. Those that were not removed this time stay
// as they are there.
func rewrite(path, root string, run []*check) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	now := map[string]*check{}
	for _, c := range run {
		now[c.place()] = c
	}
	all, err := everyCheck(root)
	if err != nil {
		return err
	}
	noticed := noticedIn(before)
	for i, c := range all {
		if known := now[c.place()]; known != nil {
			all[i] = known
		} else if by := noticed[c.row()]; !strings.HasPrefix(by, isAccepted) { // which accepted.go decides
			c.caught = by
		}
	}
	return os.WriteFile(path, list(all), 0o644)
}

// everyCheck returns the checks of all targets.
func everyCheck(root string) (all []*check, err error) {
	for _, target := range targets {
		for _, file := range target.files {
			found, err := checksOf(root, file)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// row is the beginning of the check's row, and its file. Another file may have the
// same row.
func (c *check) row() string {
	quote, text := "`", strings.ReplaceAll(c.text, "|", "\\|")
	if strings.Contains(text, quote) {
		quote, text = "``", " "+text+" "
	}
	return c.file + " | " + c.function + " | " + quote + text + quote + " | "
}

// noticedIn returns what stands behind the rows of a list.
func noticedIn(list []byte) map[string]string {
	noticed, file := map[string]string{}, ""
	for line := range strings.Lines(string(list)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			file = name
		} else if i := strings.LastIndex(line, "` | "); i >= 0 {
			noticed[file+" "+line[:i+4]] = strings.TrimSuffix(line[i+4:], " |")
		}
	}
	return noticed
}

// checksOf returns the checks in a file.
func checksOf(root, file string) ([]*check, error) {
	path := filepath.Join(root, file)
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
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
			c := &check{file: file, function: f.Name.Name, text: one, line: files.Position(conditions[0].Pos()).Line}
			for _, e := range conditions {
				c.spans = append(c.spans, [2]int{files.Position(e.Pos()).Offset, files.Position(e.End()).Offset})
			}
			found = append(found, c)
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt:
				if refuses(n.Body.List) {
					remove([]ast.Expr{n.Cond})
				}
			case *ast.SwitchStmt:
				if n.Tag != nil {
					return true
				}
				for _, s := range n.Body.List {
					if c := s.(*ast.CaseClause); len(c.List) > 0 && refuses(c.Body) {
						remove(c.List)
					}
				}
			}
			return true
		})
	}
	return found, nil
}

// refuses reports whether body ends in a return, or notes a mistake, as constructors
// do, which return all of them together.
func refuses(body []ast.Stmt) bool {
	if len(body) == 0 {
		return false
	}
	switch last := body[len(body)-1].(type) {
	case *ast.ReturnStmt:
		return true
	case *ast.ExprStmt:
		call, ok := last.X.(*ast.CallExpr)
		return ok && (isName(call.Fun, "mistake") || isName(call.Fun, "wrong"))
	case *ast.AssignStmt:
		return isName(last.Lhs[0], "mistakes") || isName(last.Lhs[0], "wrong")
	}
	return false
}

func isName(e ast.Expr, name string) bool {
	i, ok := e.(*ast.Ident)
	return ok && i.Name == name
}

// What stands where a check was never removed, and before why none has to notice.
const (
	notRun     = "not run"
	isAccepted = "accepted: "
)

// list returns the list of checks in Markdown.
func list(checks []*check) []byte {
	var b bytes.Buffer
	b.WriteString("# The checks, and the tests that notice when one is removed\n\nWritten by `go run ./internal/mutation -write`, and with `-only` for a part of it.\n")
	file := ""
	for _, c := range checks {
		if c.file != file {
			file = c.file
			fmt.Fprintf(&b, "\n## %s\n\n| Function | Check | Noticed by |\n|---|---|---|\n", file)
		}
		by := c.caught
		switch reason := accepted[c.place()]; {
		case reason != "":
			by = isAccepted + reason
		case by == "":
			by = notRun
		}
		_, row, _ := strings.Cut(c.row(), " ")
		fmt.Fprintf(&b, "%s%s |\n", row, by)
	}
	return b.Bytes()
}
