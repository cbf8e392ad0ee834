namespace WebDemo.Tests;

/// <summary>The ways in which a <see cref="FaultProxy"/> breaks a connection.</summary>
enum FaultKind
{
    /// <summary>Client and server get a TCP reset. Data in transit is lost.</summary>
    Reset,

    /// <summary>Client and server get a normal TCP close (FIN) in the middle of a message.</summary>
    End,

    /// <summary>The proxy drops all data. After the delay, client and server get a TCP reset.</summary>
    Silence,

    /// <summary>Only the client gets a TCP reset. The server receives nothing more.</summary>
    ClientReset,

    /// <summary>The server gets a TCP reset immediately. The client gets a TCP reset after the delay.</summary>
    ServerReset,
}
