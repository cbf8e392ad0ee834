namespace WebDemo.Tests;

/// <summary>A planned fault of one connection through a <see cref="FaultProxy"/>.</summary>
/// <param name="Kind">The kind of fault.</param>
/// <param name="AfterBytes">The number of bytes that the proxy relays before the fault.</param>
/// <param name="IsInRequest">True to count the bytes from the client. False to count the bytes to the client.</param>
sealed record Fault(FaultKind Kind, int AfterBytes, bool IsInRequest = false);
