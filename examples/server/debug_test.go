package main

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// What the process takes is for who asks for it, on loopback.
func TestDebugRuntime(t *testing.T) {
	p := start(t, "-debug")
	answer := p.do("GET", "/debug/runtime", "", "")
	for _, name := range []string{"goroutines", "heap_live_bytes"} {
		if n, _ := answer.body[name].(float64); answer.status != 200 || n < 1 {
			t.Errorf("%d, %s is %v", answer.status, name, answer.body[name])
		}
	}
	req, err := http.NewRequest("GET", p.url+"/debug/runtime", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.example.com" // what a page sends that points its own name here
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("another host is answered %d", resp.StatusCode)
	}

	p = start(t)
	if answer := p.do("GET", "/debug/runtime", "", ""); answer.status != 404 {
		t.Errorf("without the flag it is answered %d", answer.status)
	}
	out, err := exec.Command(binary, "-debug", "-addr", "0.0.0.0:0", "-store", "memory:").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "loopback") {
		t.Errorf("%v, %s", err, out)
	}
}
