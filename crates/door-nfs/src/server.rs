//! Accepting connections, and the limits that connections of one address share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use strata_gate::{Ends, Seat, Seats, Serves, client, listen};
use tokio::net::{TcpListener, TcpStream};

use crate::config::NfsLimits;
use crate::connection;
use crate::door::{Budgets, NfsDoor};
use crate::metrics::{NfsMetrics, count};
use crate::nlm;
use crate::peer::Service;

/// Serves NFS, MOUNT, NLM, NSM and portmap on `listener` until `shutdown` resolves; then takes no more requests, and returns
/// when those in work are answered or the drain time is over.
pub async fn serve(listener: TcpListener, door: Arc<NfsDoor>, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = accept(listener, Arc::clone(&door), Service::All, shutdown) => {}
        () = nlm::keep(Arc::clone(&door)) => {}
    }
    nlm::close(door).await;
}

/// Serves only portmap on `listener` (usually on port 111), telling `nfs_port` to clients that ask, until `shutdown`
/// resolves. For clients that cannot be told a port.
pub async fn serve_portmap(
    listener: TcpListener,
    door: Arc<NfsDoor>,
    nfs_port: u16,
    shutdown: impl Future<Output = ()>,
) {
    accept(listener, door, Service::Portmap { nfs_port }, shutdown).await;
}

async fn accept(listener: TcpListener, door: Arc<NfsDoor>, service: Service, shutdown: impl Future<Output = ()>) {
    let limits = door.limits;
    let seats = Seats::new(limits.connections_max, limits.connections_per_client_max);
    let server = Arc::new(Server { door, service, clients: Arc::default() });
    listen(listener, server, seats, limits.drain_timeout, shutdown).await;
}

struct Server {
    door: Arc<NfsDoor>,
    service: Service,
    clients: Arc<Clients>,
}

impl Serves for Server {
    fn name(&self) -> &'static str {
        "nfs"
    }
    fn waits(&self) -> bool {
        false
    }
    fn refused(&self) {
        count(&self.door.metrics().connections_refused);
    }
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
        let client = Clients::enter(&self.clients, peer, &self.door.limits, self.door.metrics());
        count(&self.door.metrics().connections_accepted);
        let own = (Arc::clone(&client.budgets), seat);
        if let Err(error) = connection::run(Arc::clone(&self.door), stream, peer, self.service, own, ends).await {
            tracing::debug!(client = %peer, %error, "nfs connection failed");
        }
    }
}

/// The addresses with open connections, and what each may take.
#[derive(Default)]
struct Clients {
    by_address: Mutex<HashMap<IpAddr, (usize, Arc<Budgets>)>>,
}

/// An open connection of a client.
struct Entered {
    budgets: Arc<Budgets>,
    clients: Arc<Clients>,
    address: IpAddr,
    metrics: Arc<NfsMetrics>,
}

impl Clients {
    fn enter(this: &Arc<Self>, address: SocketAddr, limits: &NfsLimits, metrics: &Arc<NfsMetrics>) -> Entered {
        let address = client(address.ip());
        let mut by_address = this.by_address.lock();
        let (connections, budgets) = by_address.entry(address).or_insert_with(|| (0, Budgets::of_client(limits)));
        *connections += 1;
        let budgets = Arc::clone(budgets);
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Entered { budgets, clients: Arc::clone(this), address, metrics: Arc::clone(metrics) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut by_address = self.clients.by_address.lock();
        if let Some((connections, _)) = by_address.get_mut(&self.address) {
            *connections -= 1;
            if *connections == 0 {
                by_address.remove(&self.address);
            }
        }
        self.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_address_share_a_budget_until_the_last_ends() {
        let (clients, metrics, limits) = (Arc::default(), Arc::default(), NfsLimits::default());
        let enter = |text: &str| Clients::enter(&clients, text.parse().unwrap(), &limits, &metrics);
        let (first, second, other) = (enter("10.0.0.1:1000"), enter("10.0.0.1:1001"), enter("10.0.0.2:1000"));
        assert!(Arc::ptr_eq(&first.budgets, &second.budgets) && !Arc::ptr_eq(&first.budgets, &other.budgets));
        assert_eq!(metrics.connections.load(Ordering::Relaxed), 3);
        drop((first, second));
        assert_eq!(clients.by_address.lock().len(), 1);
        assert_eq!(metrics.connections.load(Ordering::Relaxed), 1);
    }
}
