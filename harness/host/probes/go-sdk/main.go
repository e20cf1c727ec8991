// A plugin with the Go SDK (standard Go, GOOS=wasip1), for the test host's tests. Before a request goes on
// it asks the cluster that its configuration names; it counts requests, keeps the last verdict in shared
// data, remembers a property and refuses what the answer denies.
package main

import (
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetVMContext(&vm{})
}

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	cluster  string
	requests proxywasm.MetricCounter
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		proxywasm.LogCriticalf("no configuration: %v", err)
		return types.OnPluginStartStatusFailed
	}
	p.cluster = string(config)
	p.requests = proxywasm.DefineCounterMetric("go_sdk_requests")
	if err := proxywasm.SetTickPeriodMilliSeconds(1000); err != nil {
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() {
	verdict, cas, err := proxywasm.GetSharedData("verdict")
	proxywasm.LogInfof("tick: %s, %d, %v", verdict, cas, err)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &request{plugin: p} }

type request struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (r *request) OnHttpRequestHeaders(int, bool) types.Action {
	r.plugin.requests.Increment(1)
	headers, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		proxywasm.LogErrorf("no headers: %v", err)
	}
	ask := [][2]string{{":method", "GET"}, {":path", "/check"}, {":authority", "authz"},
		{"x-headers", fmt.Sprint(len(headers))}}
	if _, err := proxywasm.DispatchHttpCall(r.plugin.cluster, ask, nil, nil, 100, r.answered); err != nil {
		proxywasm.LogErrorf("no call: %v", err)
		r.refuse()
	}
	return types.ActionPause
}

func (r *request) answered(_, size, _ int) {
	body, err := proxywasm.GetHttpCallResponseBody(0, size)
	if err != nil || string(body) != "fine" {
		r.refuse()
		return
	}
	if err := proxywasm.SetSharedData("verdict", body, 0); err != nil {
		proxywasm.LogErrorf("not kept: %v", err)
	}
	if err := proxywasm.SetProperty([]string{"verdict"}, body); err != nil {
		proxywasm.LogErrorf("not set: %v", err)
	}
	if err := proxywasm.AddHttpRequestHeader("x-verdict", string(body)); err != nil {
		proxywasm.LogErrorf("not added: %v", err)
	}
	if err := proxywasm.ResumeHttpRequest(); err != nil {
		proxywasm.LogErrorf("not resumed: %v", err)
	}
}

func (r *request) refuse() {
	if err := proxywasm.SendHttpResponse(403, [][2]string{{"x-denied-by", "go-sdk"}}, []byte("denied"), -1); err != nil {
		proxywasm.LogErrorf("not sent: %v", err)
	}
}

func (r *request) OnHttpResponseHeaders(int, bool) types.Action {
	// The body will have another length.
	if err := proxywasm.RemoveHttpResponseHeader("content-length"); err != nil {
		proxywasm.LogErrorf("content-length: %v", err)
	}
	return types.ActionContinue
}

func (r *request) OnHttpResponseBody(size int, end bool) types.Action {
	if !end {
		return types.ActionPause
	}
	body, err := proxywasm.GetHttpResponseBody(0, size)
	if err == nil {
		err = proxywasm.ReplaceHttpResponseBody(append(body, " and bye"...))
	}
	if err != nil {
		proxywasm.LogErrorf("body: %v", err)
	}
	return types.ActionContinue
}

func (r *request) OnHttpStreamDone() {
	status, err := proxywasm.GetHttpResponseHeader(":status")
	proxywasm.LogInfof("done with %s, %v", status, err)
}
