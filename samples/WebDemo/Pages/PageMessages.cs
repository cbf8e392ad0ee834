namespace WebDemo;

/// <summary>The figures of the start page. The server sends these figures each second.</summary>
/// <param name="People">The number of connections, without the clients of the load page.</param>
/// <param name="MessagesPerSecond">The number of messages that the server delivered in the last second.</param>
/// <param name="P99">The 99th percentile of the time from publish to write, in milliseconds. Null without deliveries.</param>
/// <param name="PhoneUrl">The URL of this computer for a phone. Null if the demo listens only on localhost.</param>
sealed record LiveFigures(int People, long MessagesPerSecond, double? P99, string? PhoneUrl);

/// <summary>A cursor on the start page.</summary>
/// <param name="Id">The connection ID.</param>
/// <param name="Name">The display name.</param>
/// <param name="X">The horizontal position, from 0 to 10,000. Null if the cursor has left the page.</param>
/// <param name="Y">The vertical position, from 0 to 10,000. Null if the cursor has left the page.</param>
sealed record LiveCursor(string Id, string Name, int? X, int? Y);

/// <summary>A reading of a sensor.</summary>
/// <param name="Sensor">The name of the sensor.</param>
/// <param name="Value">The value.</param>
/// <param name="Time">The time of the reading, in milliseconds since 1970.</param>
sealed record SensorReading(string Sensor, double Value, long Time);

/// <summary>The body of <c>POST /login</c>.</summary>
/// <param name="Name">The name of the member.</param>
/// <param name="Password">The password. The demo has one password for all members.</param>
sealed record LoginRequest(string Name, string Password);

/// <summary>The response of <c>POST /login</c> and <c>POST /login/renew</c>.</summary>
/// <param name="Name">The name of the member.</param>
/// <param name="Token">The JSON Web Token.</param>
/// <param name="Expires">The time when the token expires, in milliseconds since 1970.</param>
sealed record LoginResponse(string Name, string Token, long Expires);

/// <summary>The figures of the load page. The server sends these figures twice per second.</summary>
/// <param name="Wanted">The number of clients that the page has requested.</param>
/// <param name="Clients">The number of connected clients.</param>
/// <param name="Deliveries">The number of messages per second that the clients received since the previous report.</param>
/// <param name="P50">The median time from publish to receive, in milliseconds. Null without deliveries.</param>
/// <param name="P99">The 99th percentile of the time from publish to receive, in milliseconds. Null without deliveries.</param>
/// <param name="Memory">The memory of the process, in MB. The clients are in the same process.</param>
/// <param name="Problem">The reason why the clients stopped. Null without a problem.</param>
sealed record LoadFigures(int Wanted, int Clients, int Deliveries, double? P50, double? P99, long Memory, string? Problem);
