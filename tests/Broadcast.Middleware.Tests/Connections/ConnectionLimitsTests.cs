using System.Net;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class ConnectionLimitsTests
{
    [Theory]
    [InlineData("192.0.2.1", "192.0.2.1", true)]
    [InlineData("192.0.2.1", "192.0.2.2", false)]
    [InlineData("192.0.2.1", "::ffff:192.0.2.1", true)]
    [InlineData("::ffff:192.0.2.1", "::ffff:192.0.2.2", false)]
    [InlineData("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true)]
    [InlineData("2001:db8:0:1::1", "2001:db8:0:2::1", false)]
    [InlineData("fe80::1%1", "fe80::2%2", true)]
    [InlineData("::1", "127.0.0.1", false)]
    public void ConnectionLimits_TwoAddresses_CountAsOneOnlyInSameNetwork(string one, string other, bool same)
    {
        var limits = new ConnectionLimits(null, null, maxPerAddress: 1);
        var (first, second) = (limits.GetCountedAddress(IPAddress.Parse(one)), limits.GetCountedAddress(IPAddress.Parse(other)));

        Assert.Equal(same, first!.Equals(second));
        Assert.Equal(RefusalReason.None, limits.Enter(null, first));
        Assert.Equal(same ? RefusalReason.MaxConnectionsPerAddress : RefusalReason.None, limits.Enter(null, second));
    }

    [Fact]
    public void GetCountedAddress_UnknownAddressOrNoLimit_ReturnsNull()
    {
        Assert.Null(new ConnectionLimits(null, null, maxPerAddress: 1).GetCountedAddress(null));
        Assert.Null(new ConnectionLimits(null, null, null).GetCountedAddress(IPAddress.Loopback));
    }

    [Fact]
    public void RefusedConnection_AnyLimit_IsNotCounted()
    {
        var limits = new ConnectionLimits(maxConnections: 3, maxPerUser: 1, maxPerAddress: 2);
        var (here, there) = (IPAddress.Parse("192.0.2.1"), IPAddress.Parse("192.0.2.2"));
        Assert.Equal(RefusalReason.None, limits.Enter("ann", here));

        for (var i = 0; i < 10; i++) Assert.Equal(RefusalReason.MaxConnectionsPerUser, limits.Enter("ann", here));

        Assert.Equal(RefusalReason.None, limits.Enter("bob", here));
        for (var i = 0; i < 10; i++) Assert.Equal(RefusalReason.MaxConnectionsPerAddress, limits.Enter("cy", here));
        Assert.Equal(RefusalReason.None, limits.Enter("cy", there));
        Assert.Equal(RefusalReason.MaxConnections, limits.Enter("dan", there));
        limits.Leave("ann", here);
        Assert.Equal(RefusalReason.None, limits.Enter("ann", here));
    }

    [Fact]
    public void MaxConnectionsPerUser_UserIds_AreCaseSensitive()
    {
        var limits = new ConnectionLimits(null, maxPerUser: 1, null);
        Assert.Equal(RefusalReason.None, limits.Enter("ann", null));
        Assert.Equal(RefusalReason.None, limits.Enter("Ann", null));
        Assert.Equal(RefusalReason.MaxConnectionsPerUser, limits.Enter("ann", null));
    }

    [Fact]
    public void ConnectionCounts_ConcurrentEnterAndLeave_StayExact()
    {
        var limits = new ConnectionLimits(maxConnections: 6, maxPerUser: 3, maxPerAddress: 4);
        var addresses = Enumerable.Range(1, 3).Select(last => IPAddress.Parse($"192.0.2.{last}")).ToArray();
        int inside = 0, most = 0;

        Parallel.For(0, 50_000, i =>
        {
            var (user, address) = (i % 4 == 0 ? null : $"user{i % 4}", addresses[i % 3]);
            if (limits.Enter(user, address) != RefusalReason.None) return;
            var now = Interlocked.Increment(ref inside);
            InterlockedMax(ref most, now);
            Interlocked.Decrement(ref inside);
            limits.Leave(user, address);
        });

        Assert.InRange(most, 1, 6);
        // The limits again admit exactly the maximum number of connections.
        for (var i = 0; i < 3; i++) Assert.Equal(RefusalReason.None, limits.Enter("user1", addresses[i]));
        Assert.Equal(RefusalReason.MaxConnectionsPerUser, limits.Enter("user1", addresses[0]));
        for (var i = 0; i < 3; i++) Assert.Equal(RefusalReason.None, limits.Enter(null, addresses[0]));
        Assert.Equal(RefusalReason.MaxConnections, limits.Enter(null, addresses[1]));
    }

    static void InterlockedMax(ref int most, int value)
    {
        for (var seen = Volatile.Read(ref most); value > seen;)
        {
            var before = Interlocked.CompareExchange(ref most, value, seen);
            if (before == seen) return;
            seen = before;
        }
    }
}
