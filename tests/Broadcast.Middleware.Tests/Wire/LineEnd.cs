namespace Broadcast.Middleware.Tests.Wire;

/// <summary>How a server ended a line.</summary>
enum LineEnd
{
    /// <summary>In order: everything it sent has arrived.</summary>
    Finished,

    /// <summary>It was cut off: something may be lost.</summary>
    Reset,
}
