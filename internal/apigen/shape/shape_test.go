package shape_test

import (
	"slices"
	"testing"

	"github.com/leadglass/leadglass/internal/apigen/shape"
)

const model = `{
"metadata":{"protocol":"query","apiVersion":"1","endpointPrefix":"x","xmlNamespace":"https://x/"},
"operations":{"Op":{"name":"Op","http":{"method":"POST","requestUri":"/"},"input":{"shape":"In"}}},
"shapes":{
"In":{"type":"structure","required":["B"],"members":{"B":{"shape":"Name"},"A":{"shape":"List"},"C":{"shape":"Flat"},"D":{"shape":"Map","locationName":"Dee"}}},
"Name":{"type":"string","min":1,"max":64.0,"pattern":"[a-z]+","sensitive":true},
"List":{"type":"list","member":{"shape":"Name","locationName":"item"},"max":5},
"Flat":{"type":"list","member":{"shape":"When","locationName":"F"},"flattened":true},
"Map":{"type":"map","key":{"shape":"Name","locationName":"K"},"value":{"shape":"When"}},
"When":{"type":"timestamp","timestampFormat":"rfc822"},
"Unused":{"type":"string"}
}}`

func TestTagsSayWhatTheModelSays(t *testing.T) {
	m, err := shape.Parse([]byte(model))
	if err != nil {
		t.Fatal(err)
	}
	in := m.Shapes.ByKey["In"]
	if got := in.Members.Names; !slices.Equal(got, []string{"B", "A", "C", "D"}) {
		t.Errorf("members in the order %v", got)
	}
	if m.Metadata.SigningName != "x" || m.Metadata.XMLNamespace.URI != "https://x/" {
		t.Errorf("metadata %+v", m.Metadata)
	}
	pattern := func(string) int { return 7 }
	for member, want := range map[string]string{
		"A": "A,max=5,item=item,e.min=1,e.max=64,e.pat=7,e.sens",
		"B": "B,req,always,esc,min=1,max=64,pat=7,sens",
		"C": "C,q=F,flat,item=F,e.ts=rfc822",
		"D": "Dee,key=K,k.min=1,k.max=64,k.pat=7,k.sens,e.ts=rfc822",
	} {
		if got := m.Tag(&in, member, shape.Extra{Always: member == "B", Escape: member == "B"}, pattern); got != want {
			t.Errorf("%s: %s, want %s", member, got, want)
		}
	}
}

func TestReachFindsWhatAnOperationUses(t *testing.T) {
	m, err := shape.Parse([]byte(model))
	if err != nil {
		t.Fatal(err)
	}
	reach := m.Reach([]string{"Op"})
	for _, name := range m.Shapes.Names {
		if reach[name] != (name != "Unused") {
			t.Errorf("%s: %t", name, reach[name])
		}
	}
}

func TestAModelThatIsNoneIsRefused(t *testing.T) {
	for _, text := range []string{"", "[]", `{"shapes":{"A":7}}`, `{"shapes":[]}`} {
		if _, err := shape.Parse([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
