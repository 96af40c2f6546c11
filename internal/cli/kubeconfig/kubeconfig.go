// Package kubeconfig owns how a cluster's kubeconfig gets into the user's own one, which is not ours: it adds three entries
// and leaves everything else, comments and unknown fields too, as it was; what it would have to overwrite it names instead.
// Where the kubeconfig comes from is the commands' business. Lost are, when anything is added: blank lines, the width of
// indentation, a '\r' before the end of lines, and the comments inside an entry that is overwritten.
//
// The names follow `az aks get-credentials` (azure-cli, command_modules/acs: merge_kubernetes_configurations), which asks
// about an entry that differs only when it has a terminal; here it is an error always.
package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"fairlead.dev/internal/cli/exit"
)

// Options say how to merge.
type Options struct {
	Overwrite   bool   // replace entries of the same name that differ
	KeepCurrent bool   // leave current-context as it is
	Context     string // rename the context and the cluster; "" leaves their names
	Exec        Exec   // how kubectl is to run fairlead for a token
}

// Exec is filed with users that run fairlead: kubectl may be run where the variables and the PATH are others than here.
type Exec struct {
	Command string            // the program; "" leaves it to be found on PATH
	Env     map[string]string // variables, such as FAIRLEAD_READY_FILE
}

// The lists of a kubeconfig, in the order in which they are merged.
var lists = []string{"clusters", "users", "contexts"} //nolint:gochecknoglobals // a constant list

// Prepare gives a cluster's kubeconfig as it is filed: renamed as asked, with "-admin" behind the name of an
// administrator's context, so that it stands beside the user's, and with fairlead run as asked. context is the name of its
// context.
func Prepare(addition []byte, o Options) (text []byte, context string, err error) {
	doc, err := parse(addition, "the cluster's kubeconfig")
	if err != nil {
		return nil, "", err
	}
	context, err = doc.rename(o)
	if err != nil {
		return nil, "", err
	}
	if err := doc.run(o.Exec); err != nil {
		return nil, "", err
	}
	text, err = doc.print()
	return text, context, err
}

// Merge adds a cluster's kubeconfig to the text of another, which name names in errors, and gives the new text and the name
// of the context that was added. Nothing changed when text and existing are the same. An entry that is there already, and
// the same, is no error; one that differs is, and named, unless it may be overwritten.
func Merge(existing, addition []byte, name string, o Options) (text []byte, context string, err error) {
	prepared, context, err := Prepare(addition, o)
	if err != nil {
		return nil, "", err
	}
	add, err := parse(prepared, "the cluster's kubeconfig")
	if err != nil {
		return nil, "", err
	}
	if comments, nothing := onlyComments(existing); nothing {
		if o.KeepCurrent {
			add.set("current-context", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"})
		}
		if text, err = add.print(); err != nil {
			return nil, "", err
		}
		text = append(comments, text...)
		if _, err = parse(text, name); err != nil { // the comments may be no text
			return nil, "", err
		}
		return text, context, nil
	}
	into, err := parse(existing, name)
	if err != nil {
		return nil, "", err
	}
	changed := false
	for _, list := range lists {
		different, err := into.merge(list, add, name, o.Overwrite)
		if err != nil {
			return nil, "", err
		}
		changed = changed || different
	}
	if current := into.get("current-context"); !o.KeepCurrent && (current == nil || current.Value != context) {
		into.set("current-context", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: context})
		changed = true
	}
	if !changed {
		return existing, context, nil
	}
	if text, err = into.print(); err == nil {
		_, err = parse(text, name)
	}
	if err != nil { // an anchor went with an entry that was overwritten, say
		return nil, "", exit.Errorf(exit.Failure, noKubeconfigHint, "%s cannot be changed by a program: %w", name, err)
	}
	return text, context, nil
}

// onlyComments reports whether a file says nothing, and gives its comments.
func onlyComments(text []byte) (comments []byte, nothing bool) {
	for line := range bytes.Lines(text) {
		switch line = bytes.TrimSpace(line); {
		case bytes.HasPrefix(line, []byte("#")):
			comments = append(append(comments, line...), '\n')
		case !slices.Contains([]string{"", "---", "...", "null", "{}"}, string(line)):
			return nil, false
		}
	}
	return comments, true
}

// document is a kubeconfig with everything that its text says, comments included.
type document struct {
	root *yaml.Node // of kind DocumentNode
	body *yaml.Node // of kind MappingNode
}

const noKubeconfigHint = "give another file, or move this one away"

// parse reads a kubeconfig, in YAML or JSON, and refuses what is none.
func parse(text []byte, name string) (document, error) {
	bad := func(format string, args ...any) (document, error) {
		return document{}, exit.Errorf(exit.Usage, noKubeconfigHint, "%s is no kubeconfig: %w", name, fmt.Errorf(format, args...))
	}
	var root yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))) // with "\r", comments go astray
	switch err := reader.Decode(&root); {
	case errors.Is(err, io.EOF):
		return bad("it is empty")
	case err != nil:
		return bad("%w", withoutContent(err))
	}
	for more := (yaml.Node{}); ; more = (yaml.Node{}) {
		err := reader.Decode(&more)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(more.Content) != 1 || !isNull(more.Content[0]) {
			return bad("it holds more than one document")
		}
	}
	d := document{&root, root.Content[0]}
	if d.body.Kind != yaml.MappingNode {
		return bad("it is no mapping")
	}
	for i, seen := 0, map[string]bool{}; i < len(d.body.Content); i += 2 {
		key := d.body.Content[i]
		if seen[key.Value] { // kubectl would not look at the one that is added to
			return bad("%.60q stands there twice, in line %d again", key.Value, key.Line)
		}
		seen[key.Value] = true
	}
	for _, f := range [][2]string{{"kind", "Config"}, {"apiVersion", "v1"}} {
		if v := d.get(f[0]); v != nil && v.Value != "" && v.Value != f[1] {
			return bad("its %s is %.60q, not %q", f[0], v.Value, f[1])
		}
	}
	known := d.get("kind") != nil
	for _, list := range lists {
		v := d.get(list)
		known = known || v != nil
		if v == nil || isNull(v) {
			continue
		}
		if v.Kind != yaml.SequenceNode {
			return bad("its %s are no list", list)
		}
		for i, entry := range v.Content {
			if nameOf(entry) == "" {
				return bad("%s[%d] has no name", list, i)
			}
		}
	}
	if !known {
		return bad("it has none of kind, clusters, users and contexts")
	}
	return d, nil
}

// withoutContent keeps the place of a fault in YAML and drops the text there, which may be a secret.
func withoutContent(err error) error {
	place, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "`")
	return errors.New("it is no YAML: " + strings.TrimRight(place, " "))
}

// get gives the value of a field of the document, or nil.
func (d document) get(field string) *yaml.Node { return fieldOf(d.body, field) }

func (d document) set(field string, v *yaml.Node) {
	for i := 0; i+1 < len(d.body.Content); i += 2 {
		if d.body.Content[i].Value == field {
			v.LineComment = d.body.Content[i+1].LineComment
			d.body.Content[i+1] = v
			return
		}
	}
	d.body.Content = append(d.body.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: field}, v)
}

// print writes the document as kubectl does: two spaces, lists not indented. What was JSON becomes YAML.
func (d document) print() ([]byte, error) {
	if d.body.Style&yaml.FlowStyle != 0 {
		unfold(d.body)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	err := errors.Join(enc.Encode(d.root), enc.Close())
	return out.Bytes(), err
}

func unfold(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	for _, inner := range n.Content {
		unfold(inner)
	}
}

// rename names what is to be filed and gives the name of its context.
func (d document) rename(o Options) (string, error) {
	contexts, clusters := d.get("contexts"), d.get("clusters")
	if contexts == nil || len(contexts.Content) == 0 || clusters == nil || len(clusters.Content) == 0 {
		return "", exit.Errorf(exit.Failure, "", "the cluster's kubeconfig has no context or no cluster")
	}
	entry := contexts.Content[0]
	name, inner := nameOf(entry), fieldOf(entry, "context")
	if o.Context != "" {
		name = o.Context
		setText(clusters.Content[0], "name", name)
		setText(inner, "cluster", name)
	}
	if user := fieldOf(inner, "user"); user != nil && strings.HasPrefix(user.Value, "clusterAdmin") {
		name += "-admin"
	}
	setText(entry, "name", name)
	d.set("current-context", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name})
	return name, nil
}

// run settles how fairlead is run, where it is.
func (d document) run(e Exec) error {
	users := d.get("users")
	if users == nil {
		return nil
	}
	for _, entry := range users.Content {
		exec := fieldOf(fieldOf(entry, "user"), "exec")
		if command := fieldOf(exec, "command"); command == nil || command.Value != "fairlead" {
			continue
		}
		if e.Command != "" {
			setText(exec, "command", e.Command)
		}
		if len(e.Env) == 0 {
			continue
		}
		var variables []map[string]string
		for _, name := range slices.Sorted(maps.Keys(e.Env)) {
			variables = append(variables, map[string]string{"name": name, "value": e.Env[name]})
		}
		env := &yaml.Node{}
		if err := env.Encode(variables); err != nil {
			return err
		}
		document{body: exec}.set("env", env)
	}
	return nil
}

// merge adds the entries of one list and reports whether anything changed.
func (d document) merge(list string, add document, file string, overwrite bool) (bool, error) {
	from, into := add.get(list), d.get(list)
	if from == nil || len(from.Content) == 0 {
		return false, nil
	}
	if into == nil || isNull(into) {
		into = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		d.set(list, into)
	}
	changed := false
	for _, entry := range from.Content {
		name := nameOf(entry)
		at := slices.IndexFunc(into.Content, func(n *yaml.Node) bool { return nameOf(n) == name })
		switch {
		case at < 0:
			into.Style = 0 // "[]" cannot take a block
			into.Content = append(into.Content, entry)
		case same(into.Content[at], entry):
			continue // a second one of the name is never looked at
		case !overwrite:
			return false, exit.Errorf(exit.Failure, "repeat it with --overwrite-existing, or give --context another name or --file another file",
				"%s has another %q among its %s", file, name, list)
		default:
			entry.HeadComment, entry.FootComment = into.Content[at].HeadComment, into.Content[at].FootComment
			into.Content[at] = entry
		}
		changed = true
	}
	return changed, nil
}

// same compares what entries say, whatever their form.
func same(a, b *yaml.Node) bool {
	var x, y any
	return a.Decode(&x) == nil && b.Decode(&y) == nil && reflect.DeepEqual(x, y)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func nameOf(entry *yaml.Node) string {
	if n := fieldOf(entry, "name"); n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return n.Value
	}
	return ""
}

// fieldOf gives a field of a mapping, or nil.
func fieldOf(n *yaml.Node, field string) *yaml.Node {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			return resolve(n.Content[i+1])
		}
	}
	return nil
}

func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func setText(n *yaml.Node, field, text string) {
	if v := fieldOf(n, field); v != nil {
		v.SetString(text)
	}
}
