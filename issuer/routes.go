package issuer

import (
	"cmp"
	"fmt"
	"strings"
)

// RouteOff is the path of a route that is not mounted. Its requests are answered
// with 404, as those of every other path that is nobody's.
const RouteOff = "-"

// Routes are the paths of the JSON routes, below Config.Prefix: absolute, clean,
// without a slash at its end and without anything to escape. Empty means the
// default, and RouteOff that there is no such route.
type Routes struct {
	Login    string // "/login"
	Signup   string // "/signup"; only where Config.Register is set
	Refresh  string // "/refresh"
	Logout   string // "/logout"
	Sessions string // "/sessions", and one path segment more for a session
}

// taken are the paths below Config.Prefix that stand for something else.
var taken = []string{"/token", "/revoke", "/introspect", "/authorize", "/.well-known", statusListPath}

// withDefaults returns r with a path or RouteOff for every route, or what is
// wrong with it. signup says whether there is a Register.
func (r Routes) withDefaults(signup bool) (Routes, []error) {
	var wrong []error
	if !signup && r.Signup != "" && r.Signup != RouteOff {
		wrong = append(wrong, fmt.Errorf("issuer: Routes.Signup is %q, and Register is nil", r.Signup))
	}
	if !signup {
		r.Signup = RouteOff
	}
	seen := map[string]string{}
	for _, route := range []struct {
		name, otherwise string
		path            *string
	}{
		{"Login", "/login", &r.Login}, {"Signup", "/signup", &r.Signup}, {"Refresh", "/refresh", &r.Refresh},
		{"Logout", "/logout", &r.Logout}, {"Sessions", "/sessions", &r.Sessions},
	} {
		*route.path = cmp.Or(*route.path, route.otherwise)
		path := *route.path
		if path == RouteOff {
			continue
		}
		if !isPath(path) {
			wrong = append(wrong, fmt.Errorf("issuer: Routes.%s %q is not a path like %s: absolute, clean, with no slash at its end and nothing to escape", route.name, path, route.otherwise))
		}
		for _, other := range taken {
			if path == other || strings.HasPrefix(path, other+"/") {
				wrong = append(wrong, fmt.Errorf("issuer: Routes.%s is %q, which is not for a JSON route", route.name, path))
			}
		}
		if other := seen[path]; other != "" {
			wrong = append(wrong, fmt.Errorf("issuer: Routes.%s is %q, and so is Routes.%s", route.name, path, other))
		}
		seen[path] = route.name
	}
	return r, wrong
}
