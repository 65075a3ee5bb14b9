package zone

import "testing"

func TestZoneIsReadFromTheClientID(t *testing.T) {
	for id, want := range map[string]string{
		"":                                    "",
		"app":                                 "",
		"zone=a":                              "a",
		"az=a":                                "a",
		"app,zone=eu-1a":                      "eu-1a",
		"app, zone=eu-1a":                     "eu-1a",
		"app;zone=eu-1a;x=y":                  "eu-1a",
		"Zone=eu-1a":                          "eu-1a",
		"app,ws_az=us-east-1a":                "us-east-1a",
		"warpstream_az=eu-south-2a,ws_pas=eq": "eu-south-2a",
		"automq_type=producer&automq_role=p&automq_az=us-east-1a&producer-1": "us-east-1a",
		"automq_az=rack%2Fa&x":      "rack/a",
		"automq_az=rack%ZZ":         "rack%ZZ",
		"my-producer,diskless_az=z": "z",
		"loadtest;inkless_az=az1":   "az1",
		"aaa=bbb, inkless_az=az1":   "az1",
		"zone=,az=b":                "b",
		"zone=a,az=b":               "a",
		"id;host_override=local.dev;broker_count=1;zone=us-west-2b": "us-west-2b",
		"timezone=a": "",
		"app-zone=a": "",
		"zone":       "",
		"=,=;&":      "",
	} {
		if got := Of(id); got != want {
			t.Errorf("Of(%q) = %q, not %q", id, got, want)
		}
	}
}
