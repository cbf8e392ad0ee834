namespace Broadcast.Middleware.Hosting;

/// <summary>
/// The broadcast for the clients of the presence endpoints: see <see cref="BroadcastInstance.CreateForPresence"/>. An
/// app without presence endpoints does not create this broadcast. This class gives the broadcast a service type of its
/// own.
/// </summary>
/// <param name="instance">The broadcast.</param>
sealed class PresenceBroadcast(BroadcastInstance instance) : IDisposable
{
    public BroadcastInstance Instance => instance;

    public void Dispose() => instance.Dispose();
}
