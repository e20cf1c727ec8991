// agent is what Istio's agent does to a filter before Envoy sees it, and nothing else of the agent: it reads an
// extension as istiod sends it, pulls the module that it names, and writes the extension as Envoy gets it.
//
//	agent FOLDER < extension.json
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	// What an extension may hold.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/wasm"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("give the folder for modules, and the extension on standard input")
	}
	// Standard output is for the extension alone.
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	if err := log.Configure(options); err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	extension := &core.TypedExtensionConfig{}
	if err := protojson.Unmarshal(text, extension); err != nil {
		return err
	}
	resource, err := anypb.New(extension)
	if err != nil {
		return err
	}
	cache := wasm.NewLocalFileCache(arguments[0], wasm.Options{})
	defer cache.Cleanup()
	resources := []*anypb.Any{resource}
	if err := wasm.MaybeConvertWasmExtensionConfig(resources, cache); err != nil {
		return err
	}
	if err := resources[0].UnmarshalTo(extension); err != nil {
		return err
	}
	text, err = protojson.Marshal(extension)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
