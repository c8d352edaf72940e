package main

import (
	"errors"
	"html/template"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/tokenloop/tokenloop/middleware"
)

// maxInspectBytes limits the form of /inspect, in bytes.
const maxInspectBytes = 64 << 10

// inspect returns the page that shows what auth says of a token. It is for
// development: it tells anybody who can reach it what the API expects. So it is
// for loopback only, for requests that name a loopback host, which a page of
// another site cannot send by pointing its own name here, and for no other
// site's forms. A token comes in the body alone, since URLs are remembered, and
// is not shown again.
func inspect(auth *middleware.Middleware) http.Handler {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e *middleware.Explanation // nil for the empty form
		if r.Method == http.MethodPost {
			token, status := formToken(w, r)
			if status != http.StatusOK {
				http.Error(w, http.StatusText(status), status)
				return
			}
			e = auth.Explain(r.Context(), token)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = inspectPage.Execute(w, e) // fails only when the client has left
	})
	protected := http.NewCrossOriginProtection().Handler(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // without any, the form's origin would be "null"
		switch {
		case !isLoopback(r.Host):
			http.Error(w, "this page is for loopback hosts", http.StatusForbidden)
		case r.URL.RawQuery != "":
			http.Error(w, "this page takes nothing from a URL", http.StatusBadRequest)
		default:
			protected.ServeHTTP(w, r)
		}
	})
}

// formToken returns the token in the body of a form, and what to answer.
func formToken(w http.ResponseWriter, r *http.Request) (string, int) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return "", http.StatusUnsupportedMediaType
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxInspectBytes)
	if err := r.ParseForm(); err != nil {
		if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
			return "", http.StatusRequestEntityTooLarge
		}
		return "", http.StatusBadRequest
	}
	tokens := r.PostForm["token"]
	if len(tokens) != 1 {
		return "", http.StatusBadRequest
	}
	return strings.TrimSpace(tokens[0]), http.StatusOK
}

// isLoopback reports whether an address, with or without a port, names this
// machine and cannot be reached from another.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// inspectPage shows an Explanation, or the form alone where it is nil. It needs
// no script, and nothing from elsewhere.
var inspectPage = template.Must(template.New("inspect").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{if .}}{{if .Reason}}{{.Reason}}{{else}}Accepted{{end}} - {{end}}Inspect a token</title>
<style>
body { font-family: sans-serif; max-width: 75rem; margin: 1rem auto; padding: 0 1rem; color: #111; background: #fff; }
textarea { display: block; width: 100%; box-sizing: border-box; font-family: monospace; margin: .25rem 0 .75rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; font-weight: bold; padding: .25rem 0; }
th, td { border: 1px solid #767676; padding: .25rem .5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.failed { background: #fde8e8; }
</style>
</head>
<body>
<main>
<h1>Inspect a token</h1>
<form method="post" action="/inspect" autocomplete="off">
<label for="token">Access token</label>
<textarea id="token" name="token" rows="6" required spellcheck="false" autocapitalize="off" aria-describedby="hint"></textarea>
<p id="hint">It is sent to this server in the body of the request, and is neither kept nor shown again.</p>
<button type="submit">Inspect</button>
</form>
{{with .}}
<h2>{{if .Reason}}Refused: {{.Reason}}{{else}}Accepted{{end}}</h2>
{{if .Reason}}<p>{{.Reason.Description}}</p>{{end}}
{{if not .Verified}}<p><strong>The signature is not verified: anybody can have written what the token says.</strong></p>{{end}}
<div class="wide" role="region" aria-label="Checks" tabindex="0">
<table>
<caption>Checks, in their order</caption>
<thead><tr><th scope="col">Check</th><th scope="col">Verdict</th><th scope="col">Reason</th><th scope="col">Expected</th><th scope="col">Found</th></tr></thead>
<tbody>
{{range .Checks}}<tr{{if .Reason}} class="failed"{{end}}><th scope="row">{{.Name}}</th><td>{{.Verdict}}</td><td>{{.Reason}}</td><td>{{.Expected}}</td><td>{{.Found}}{{if .Unverified}} (unverified){{end}}{{if .Note}}({{.Note}}){{end}}</td></tr>
{{end}}</tbody>
</table>
</div>
{{$unverified := not .Verified}}
{{if or .Header .Claims}}
<table>
<caption>What the token says{{if $unverified}} (unverified){{end}}</caption>
<tbody>
{{range .Header}}<tr><th scope="row">{{.Name}}</th><td>{{.Value}}</td></tr>
{{end}}{{range .Claims}}<tr><th scope="row">{{.Name}}</th><td>{{.Value}}</td></tr>
{{end}}</tbody>
</table>
{{end}}
<table>
<caption>Times and keys</caption>
<tbody>
<tr><th scope="row">checked at</th><td>{{.Time.Format "2006-01-02T15:04:05Z07:00"}}</td></tr>
<tr><th scope="row">clock skew tolerated</th><td>{{.Leeway}}</td></tr>
{{with .Lifetime}}<tr><th scope="row">lifetime</th><td>{{.}}</td></tr>{{end}}
{{with .ExpiredAgo}}<tr><th scope="row">expired</th><td>{{.}} ago</td></tr>{{end}}
{{with .ExpiresIn}}<tr><th scope="row">expires in</th><td>{{.}}</td></tr>{{end}}
{{range .Keys}}<tr><th scope="row">key tried</th><td>{{with .ID}}{{.}}{{else}}without a name{{end}}, {{.Algorithm}}</td></tr>{{end}}
{{with .KeySetAge}}<tr><th scope="row">keys fetched</th><td>{{.}} ago</td></tr>{{end}}
</tbody>
</table>
{{end}}
</main>
</body>
</html>
`))
