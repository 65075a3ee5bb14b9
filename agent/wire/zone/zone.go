// Package zone reads the zone of a client from its client.id. It must never fail because of what a client says there.
package zone

import (
	"net/url"
	"strings"
)

// zoneKeys are the spellings by which a client.id names its zone: ours (zone, which is Bufstream's, too, and az), WarpStream's
// (ws_az, warpstream_az), AutoMQ's and Inkless's (inkless_az, later diskless_az).
var zoneKeys = map[string]bool{
	"zone": true, "az": true, "ws_az": true, "warpstream_az": true, "automq_az": true, "inkless_az": true, "diskless_az": true,
}

// Of answers the zone that a client.id names as key=zone among parts separated by comma, semicolon, ampersand or space
// ("app,zone=eu-1a"), in any of the spellings in use; "" if none. The first one that is not empty wins.
func Of(clientID string) string {
	if !strings.Contains(clientID, "=") {
		return ""
	}
	for part := range strings.FieldsFuncSeq(clientID, func(r rune) bool { return strings.ContainsRune(",;& ", r) }) {
		key, value, _ := strings.Cut(part, "=")
		key = strings.ToLower(key)
		if !zoneKeys[key] || value == "" {
			continue
		}
		if key == "automq_az" { // AutoMQ's clients encode it as in a URL
			if decoded, err := url.QueryUnescape(value); err == nil {
				value = decoded
			}
		}
		return value
	}
	return ""
}
