package issuer

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
)

// An Issuer is the http.Handler of all routes below Config.Prefix. Make one with
// New. It is safe for concurrent use, and holds no state but its Config, whose
// Limiter counts, and whose Replays remember proofs.
type Issuer struct {
	c       Config
	masters masterKeys
	claims  []byte            // the beginning of every payload
	renamed map[string]string // names of members on the wire that are not the default ones
	browser *browser
	mux     *http.ServeMux
	oauth   *oauth           // nil when there are no clients
	proofs  *dpop.Checker    // nil without Config.DPoP
	status  *statusPublisher // nil when there is no status list
	denier  Denier           // the Denylist, the StatusList, or both; nil for neither
}

// An endpoint answers one method of one route, or returns why it refuses to.
type endpoint func(w http.ResponseWriter, r *http.Request) error

func (i *Issuer) routes() {
	i.mux = http.NewServeMux()
	p := i.c.Routes
	for path, methods := range map[string]map[string]endpoint{
		p.Login:                  {"POST": i.login},
		p.Signup:                 {"POST": i.signup},
		p.Refresh:                {"POST": i.limitRefresh(i.dropDead(i.refreshRoute))},
		p.Logout:                 {"POST": i.logout},
		p.Sessions:               {"GET": i.list, "DELETE": i.deleteOthers},
		p.Sessions + "/{id}":     {"DELETE": i.deleteOne},
		"/.well-known/jwks.json": {"GET": i.keys},
	} {
		if !strings.HasPrefix(path, RouteOff) {
			i.mux.Handle(i.c.Prefix+path, i.handler(methods))
		}
	}
	if i.status != nil {
		i.mux.Handle(i.c.Prefix+statusListPath, i.handler(map[string]endpoint{"GET": i.statusList}))
		i.mux.Handle(i.c.Prefix+statusAggregationPath, i.handler(map[string]endpoint{"GET": i.statusAggregation}))
	}
	i.oauthRoutes()
	i.mux.Handle("/", i.handler(nil))
}

// handler answers 404 when there are no methods at all, and 405 with Allow (RFC
// 9110, Section 15.5.6) when r's is not one of them.
func (i *Issuer) handler(methods map[string]endpoint) http.Handler {
	if methods["GET"] != nil {
		methods["HEAD"] = methods["GET"]
	}
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.browser.cors(w, r, allow) {
			return
		}
		var err error
		switch e := methods[r.Method]; {
		case i.browser.foreign(r), isPreflight(r) && len(i.c.Origins) > 0:
			err = httpError(http.StatusForbidden, anotherOrigin)
		case e != nil:
			err = e(w, r)
		case len(methods) == 0:
			err = httpError(http.StatusNotFound, i.nothing(r.URL.Path))
		default:
			w.Header().Set("Allow", allow)
			message := "The method is not one of: " + allow + "."
			if isPreflight(r) {
				message = anotherOrigin
			}
			err = httpError(http.StatusMethodNotAllowed, message)
		}
		if err != nil {
			i.refuse(w, r, err)
		}
	})
}

// nothing says that there is nothing at path. Of an issuer that is mounted
// elsewhere than at its Prefix every path is such a one.
func (i *Issuer) nothing(path string) string {
	if strings.HasPrefix(path, i.c.Prefix+"/") || strings.HasPrefix(path, "/.well-known/") {
		return "There is nothing here."
	}
	return "There is nothing here: the routes of this issuer begin with " + i.c.Prefix + "/, its Prefix."
}

// ServeHTTP answers the routes below Config.Prefix, which r's path must have.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mux.ServeHTTP(w, i.placed(r))
}

// WellKnown returns the handler of the documents that stand at the root of a
// host, to mount with mux.Handle("/.well-known/", iss.WellKnown()): jwks.json and,
// where there is a POST /token, oauth-authorization-server (RFC 8414).
func (i *Issuer) WellKnown() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", i.handler(map[string]endpoint{"GET": i.keys}))
	if i.oauth != nil && len(i.c.Grants) > 0 {
		mux.Handle(metadataPath+i.oauth.issuerPath, i.handler(map[string]endpoint{"GET": i.metadata}))
	}
	mux.Handle("/", i.handler(nil))
	return mux
}

// refuse logs what is the operator's business and answers.
func (i *Issuer) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if jwterrors.ReasonOf(err).Status() >= 500 {
		i.c.Logger.ErrorContext(r.Context(), "issuer: request failed", "path", r.URL.Path, "err", err)
	}
	i.c.Respond(w, r, err)
}

// refused returns the refusal of a request. What is wrong with its form is for the
// client to mend, who is told; every other cause is for the operator alone.
func refused(reason jwterrors.Reason, cause string) error {
	e := &jwterrors.Error{Reason: reason, Err: errors.New(cause)}
	if reason == jwterrors.RequestInvalid {
		e.Message = "The request is malformed: " + cause + "."
	}
	return e
}
